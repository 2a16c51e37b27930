//! Feeds from real servers: what they deliver is computed, acknowledged once it is in the lake, and delivered again to a run that begins
//! anew, whatever is killed.
//!
//! A server that is not installed is not tested; where `TALLOW_SERVERS` is set, as in CI, it has to be.

use crate::live::{Program, assert_equal_to_batch, begun, rows_of};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_installed(program: &str) -> bool {
    let found = Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    assert!(found || std::env::var_os("TALLOW_SERVERS").is_none(), "{program} is not installed");
    found
}

/// Waits until something holds; a process that does not get there ends the test.
fn wait_until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_200 {
        if let Some(found) = holds() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} does not come about within a minute");
}

fn connected(port: u16) -> TcpStream {
    wait_until("a connection", || TcpStream::connect(("127.0.0.1", port)).ok())
}

/// A server of Redis that keeps what it is told on disk.
fn redis(folder: &Path, port: u16) -> Server {
    let server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--dir", &folder.display().to_string()])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(server);
    wait_until("Redis", || (command(port, &["PING"]) == "+PONG").then_some(()));
    server
}

/// Sends a command to Redis; the first line of its answer, or of the first part of it.
fn command(port: u16, words: &[&str]) -> String {
    let mut stream = connected(port);
    stream.write_all(request(words).as_bytes()).unwrap();
    let (mut reader, mut line) = (BufReader::new(stream), String::new());
    let _ = reader.read_line(&mut line);
    if line.starts_with('*') {
        line.clear();
        let _ = reader.read_line(&mut line);
    }
    line.trim_end().to_string()
}

fn request(words: &[&str]) -> String {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{words}", words.matches('$').count())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_read_acknowledged_and_killed() {
    if !is_installed("redis-server") {
        return;
    }
    let (folder, port) = (tempfile::tempdir().unwrap(), port());
    let lines = begun(folder.path()).await;
    let mut server = redis(folder.path(), port);
    let feed = format!("redis://127.0.0.1:{port}?stream=bars");
    let begin = || Program::begun(folder.path(), &["--feed", &feed, "--flush", "100ms"], "symbols are known");
    let add = |lines: &[String]| {
        let mut stream = connected(port);
        for line in lines {
            stream.write_all(request(&["XADD", "bars", "*", "candle", line.trim()]).as_bytes()).unwrap();
            let mut answer = [0; 64];
            assert!(stream.read(&mut answer).unwrap() > 0 && answer[0] == b'$');
        }
    };
    let waiting = || command(port, &["XPENDING", "bars", "tallow-live"]);
    let delivered = |count: usize| {
        wait_until("all entries are acknowledged", || {
            let read = command(port, &["XINFO", "STREAM", "bars"]);
            (waiting() == ":0" && !read.is_empty() && entries_read(port) == count).then_some(())
        });
    };
    // Some before it begins, and one that is no candle.
    add(&lines[..60]);
    add(&["no candle".to_string()]);
    let program = begin();
    add(&lines[60..150]);
    delivered(151);
    // The server is killed, and is back.
    drop(server);
    server = redis(folder.path(), port);
    add(&lines[150..300]);
    delivered(301);
    // The run is killed in the middle of something.
    add(&lines[300..450]);
    program.kill();
    let program = begin();
    // Each value in a field of its own.
    for line in &lines[450..453] {
        let fields: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut words = vec!["XADD".to_string(), "bars".to_string(), "*".to_string()];
        for (name, value) in fields.as_object().unwrap() {
            words.push(name.clone());
            words.push(value.as_str().map_or_else(|| value.to_string(), str::to_string));
        }
        command(port, &words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    add(&lines[453..]);
    delivered(601);
    program.stop();
    drop(server);
    assert_equal_to_batch(folder.path(), 200).await;
}

/// How many entries of the stream the group has read.
fn entries_read(port: u16) -> usize {
    let mut stream = connected(port);
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(request(&["XINFO", "GROUPS", "bars"]).as_bytes()).unwrap();
    let mut text = vec![0; 4096];
    let length = stream.read(&mut text).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let rest = text.split_once("entries-read\r\n:").map_or("0", |(_, rest)| rest);
    rest.split('\r').next().unwrap().parse().unwrap_or(0)
}

/// A connection to NATS, in its protocol of lines.
struct Nats {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Nats {
    fn connect(port: u16) -> Nats {
        let stream = connected(port);
        let mut nats = Nats { reader: BufReader::new(stream.try_clone().unwrap()), writer: stream };
        nats.line();
        nats.writer.write_all(b"CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n").unwrap();
        nats
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        if line.starts_with("PING") {
            self.writer.write_all(b"PONG\r\n").unwrap();
            return self.line();
        }
        line
    }

    /// Publishes, and reads the answer.
    fn ask(&mut self, subject: &str, body: &str) -> serde_json::Value {
        write!(self.writer, "PUB {subject} answers {}\r\n{body}\r\n", body.len()).unwrap();
        let line = self.line();
        assert!(line.starts_with("MSG answers"), "{line}");
        serde_json::from_str(&self.line()).unwrap()
    }
}

fn nats(folder: &Path, port: u16) -> Server {
    let folder = folder.join("nats").display().to_string();
    let server = Command::new("nats-server")
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd", &folder])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(server);
    wait_until("JetStream", || Nats::connect(port).ask("$JS.API.INFO", "").get("error").is_none().then_some(()));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_is_read_acknowledged_and_killed() {
    if !is_installed("nats-server") {
        return;
    }
    let (folder, port) = (tempfile::tempdir().unwrap(), port());
    let lines = begun(folder.path()).await;
    let mut server = nats(folder.path(), port);
    let config = r#"{"name":"BARS","subjects":["bars.>"],"storage":"file"}"#;
    let created = Nats::connect(port).ask("$JS.API.STREAM.CREATE.BARS", config);
    assert!(created.get("error").is_none(), "{created}");
    let feed = format!("nats://127.0.0.1:{port}?stream=BARS&subject=bars.1d");
    let begin = || Program::begun(folder.path(), &["--feed", &feed, "--flush", "100ms"], "symbols are known");
    let publish = |lines: &[String]| {
        let mut nats = Nats::connect(port);
        for line in lines {
            let answer = nats.ask("bars.1d", line.trim());
            assert!(answer.get("seq").is_some(), "{answer}");
        }
    };
    let delivered = |count: u64| {
        wait_until(&format!("the acknowledgement of {count} messages"), || {
            let of = Nats::connect(port).ask("$JS.API.CONSUMER.INFO.BARS.tallow-live", "");
            (of["ack_floor"]["consumer_seq"].as_u64() >= Some(count) && of["num_ack_pending"].as_u64() == Some(0))
                .then_some(())
        });
    };
    publish(&lines[..60]);
    publish(&["no candle".to_string()]);
    let program = begin();
    publish(&lines[60..150]);
    delivered(151);
    drop(server);
    server = nats(folder.path(), port);
    publish(&lines[150..300]);
    delivered(301);
    publish(&lines[300..450]);
    program.kill();
    let program = begin();
    publish(&lines[450..]);
    delivered(601);
    program.stop();
    drop(server);
    assert_equal_to_batch(folder.path(), 200).await;
}

/// A server of Postgres, which does not run as root.
struct Postgres {
    folder: String,
    port: u16,
}

/// Runs a program of Postgres as its user.
fn as_postgres(words: &[&str]) -> (bool, String) {
    let output = Command::new("runuser").args(["-u", "postgres", "--"]).args(words).current_dir("/").output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Where the programs of the server are.
fn programs() -> Option<String> {
    let found =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|version| Some(version.ok()?.path().join("bin")));
    found.map(|path| path.display().to_string()).max()
}

impl Postgres {
    fn new(folder: &Path, port: u16) -> Postgres {
        let data = folder.join("postgres");
        std::fs::create_dir(&data).unwrap();
        // Its user reaches its folder, and nothing else of the test.
        assert!(Command::new("chmod").args(["711", &folder.display().to_string()]).status().unwrap().success());
        assert!(Command::new("chown").args(["postgres", &data.display().to_string()]).status().unwrap().success());
        let of = Postgres { folder: data.display().to_string(), port };
        let (is_well, said) =
            as_postgres(&[&format!("{}/initdb", programs().unwrap()), "-A", "trust", "-D", &of.folder]);
        assert!(is_well, "{said}");
        of.start();
        of
    }

    fn start(&self) {
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''", self.port);
        let log = format!("{}/log", self.folder);
        let control = format!("{}/pg_ctl", programs().unwrap());
        let (is_well, said) = as_postgres(&[&control, "-w", "-D", &self.folder, "-l", &log, "-o", &options, "start"]);
        assert!(is_well, "{said}");
    }

    fn stop(&self) {
        as_postgres(&[&format!("{}/pg_ctl", programs().unwrap()), "-D", &self.folder, "-m", "immediate", "stop"]);
    }

    fn run(&self, sql: &str) -> String {
        let port = self.port.to_string();
        let (is_well, said) = as_postgres(&["psql", "-qtA", "-h", "127.0.0.1", "-p", &port, "-c", sql]);
        assert!(is_well, "{said}");
        said.trim().to_string()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_read_from_where_the_lake_is_and_killed() {
    if programs().is_none() {
        assert!(std::env::var_os("TALLOW_SERVERS").is_none(), "Postgres is not installed");
        return;
    }
    let (folder, port) = (tempfile::tempdir().unwrap(), port());
    let lines = begun(folder.path()).await;
    let server = Postgres::new(folder.path(), port);
    server.run(
        "create table bars (id bigserial primary key, symbol text, ts timestamptz, open numeric, high numeric, low numeric, \
         close numeric, volume bigint); \
         create function told() returns trigger language plpgsql as 'begin notify bars; return null; end'; \
         create trigger told after insert on bars for each statement execute function told()",
    );
    let row = |line: &String| {
        let of: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| of[name].to_string();
        let values = ["open", "high", "low", "close", "volume"].map(number).join(", ");
        format!("('{}', to_timestamp({}), {values})", of["symbol"].as_str().unwrap(), of["ts"])
    };
    let insert = |lines: &[String]| {
        let rows = lines.iter().map(row).collect::<Vec<_>>().join(", ");
        server.run(&format!("insert into bars (symbol, ts, open, high, low, close, volume) values {rows}"));
    };
    let feed = format!("postgres://postgres@127.0.0.1:{port}/postgres?table=bars&channel=bars");
    let begin = || Program::begun(folder.path(), &["--feed", &feed, "--flush", "100ms"], "symbols are known");
    let delivered = async |rows: usize| {
        for _ in 0..600 {
            let session = crate::live::over(folder.path()).await;
            let sql = format!(
                "select count(*) n from candles where ts >= to_timestamp_micros({})",
                crate::common::START + 200 * crate::common::DAY
            );
            let count = crate::common::query(&session, &sql).await;
            let count = arrow::util::display::array_value_to_string(count.column(0), 0).unwrap();
            if count == rows.to_string() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{rows} rows do not come");
    };
    insert(&lines[..60]);
    let program = begin();
    // A transaction that writes smaller numbers and ends later.
    let late = std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            let rows = lines[60..63].iter().map(row).collect::<Vec<_>>().join(", ");
            server.run(&format!(
                "begin; insert into bars (symbol, ts, open, high, low, close, volume) values {rows}; select pg_sleep(1); commit"
            ));
        });
        insert(&lines[63..150]);
        late.join()
    });
    late.unwrap();
    delivered(150).await;
    server.stop();
    server.start();
    insert(&lines[150..300]);
    delivered(300).await;
    insert(&lines[300..450]);
    program.kill();
    let program = begin();
    insert(&lines[450..]);
    delivered(600).await;
    program.stop();
    assert_equal_to_batch(folder.path(), 200).await;
}

/// An emulator of Firestore, and what it says of documents that it has written.
struct Firestore {
    server: Server,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Firestore {
    /// Starts one, of the package in a folder, with these documents.
    fn begin(package: &str, port: u16, lines: &[String]) -> Firestore {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/firestore.js");
        let mut server = Command::new("node")
            .args([script, package, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, said) = (server.stdin.take().unwrap(), BufReader::new(server.stdout.take().unwrap()).lines());
        let mut firestore = Firestore { server: Server(server), input, said };
        assert_eq!(firestore.said.next().unwrap().unwrap(), "0");
        firestore.add(lines);
        firestore
    }

    /// Writes documents.
    fn add(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.input.write_all(line.as_bytes()).unwrap());
        let written = self.said.by_ref().take(lines.len()).last();
        assert!(lines.is_empty() || written.is_some_and(|count| count.is_ok()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firestore_is_listened_to_and_killed() {
    let Ok(package) = std::env::var("TALLOW_TEST_FIRESTORE") else {
        assert!(std::env::var_os("TALLOW_SERVERS").is_none(), "TALLOW_TEST_FIRESTORE names no emulator");
        return;
    };
    let (folder, port) = (tempfile::tempdir().unwrap(), port());
    let lines = begun(folder.path()).await;
    let emulator = [("FIRESTORE_EMULATOR_HOST", format!("127.0.0.1:{port}"))];
    let args = ["--feed", "firestore://test/candles?order=ts", "--flush", "100ms"];
    let begin = || Program::begun_with(folder.path(), &args, "symbols are known", &emulator);
    let delivered = async |count: usize| {
        let has_all = async || rows_of(folder.path()).await == 600 + count;
        for _ in 0..600 {
            if has_all().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{count} documents are not in the lake within a minute");
    };
    let mut firestore = Firestore::begin(&package, port, &lines[..300]);
    let program = begin();
    delivered(300).await;
    firestore.add(&lines[300..330]);
    delivered(330).await;
    // The server is killed, and is back with all that it had and more.
    drop(firestore.server);
    firestore = Firestore::begin(&package, port, &lines[..400]);
    delivered(400).await;
    // The run is killed, and documents come again that are in the lake.
    program.kill();
    firestore.add(&lines[400..]);
    let program = begin();
    delivered(600).await;
    program.stop();
    drop(firestore);
    assert_equal_to_batch(folder.path(), 200).await;
}
