//! A server as programs see it: what it answers, refuses, stops and gives back.

use crate::common::session;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Hours of work whose first row never comes.
const HEAVY: &str =
    "select sum(a.value * b.value % 7) from generate_series(1, 1000000) a, generate_series(1, 10000000) b";
/// A query that is not there any more within this has been stopped.
const HANGS: Duration = Duration::from_secs(60);

/// A server over the sample.
pub struct Server {
    child: Child,
    pub port: u16,
    said: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.said.lock().unwrap().join("\n"));
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Its body did not come to its end.
    pub is_broken: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of the error that it is.
    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_string())
    }
}

impl Server {
    pub fn begin(args: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tallow"))
            .args(["--lake", "data", "--threads", "2", "--memory", "1g", "serve", "--http", "127.0.0.1:0"])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut before = vec![];
        let rest = lines.find_map(|line| match line.split_once("listening on ") {
            Some((_, rest)) => Some(rest.to_string()),
            None => {
                before.push(line);
                None
            }
        });
        let rest = rest.unwrap_or_else(|| panic!("{before:?}"));
        let port = rest.rsplit(':').next().unwrap().trim().parse().unwrap();
        let said = Arc::new(Mutex::new(before));
        let into = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| into.lock().unwrap().push(line)));
        Server { child, port, said, client: reqwest::Client::new() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn sql(&self, text: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url("/v1/sql")).header("content-type", "application/sql").body(text.to_string())
    }

    /// Waits until so many queries run, and none waits.
    async fn runs(&self, count: usize) {
        let begun = Instant::now();
        loop {
            let running = sent(self.get("/v1/running")).await.json();
            let running = running.as_array().unwrap();
            if running.len() == count && running.iter().all(|query| query["state"] == "running") {
                return;
            }
            assert!(begun.elapsed() < HANGS, "{running:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nothing runs; then nothing is held either.
    async fn is_idle(&self) {
        self.runs(0).await;
        let begun = Instant::now();
        loop {
            let health = sent(self.get("/health/detailed")).await.json();
            let held = (health["memory"]["reserved"].as_u64(), health["queries"]["running"].as_u64());
            if held == (Some(0), Some(0)) {
                return;
            }
            assert!(begun.elapsed() < HANGS, "{health}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Where it is asked by Arrow Flight SQL, which it says after it has said where by HTTP.
    pub fn flight_port(&self) -> u16 {
        let begun = Instant::now();
        loop {
            let said = self
                .said
                .lock()
                .unwrap()
                .iter()
                .find_map(|line| Some(line.split_once("listening on grpc://")?.1.to_string()));
            if let Some(address) = said {
                return address.rsplit(':').next().unwrap().trim().parse().unwrap();
            }
            assert!(begun.elapsed() < HANGS);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

/// Sends a request, and takes all of the answer that comes.
pub async fn sent(request: reqwest::RequestBuilder) -> Answer {
    let mut response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let (mut body, mut is_broken) = (vec![], false);
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend(chunk),
            Ok(None) => break,
            Err(_) => {
                is_broken = true;
                break;
            }
        }
    }
    Answer { status, headers, body, is_broken }
}

/// An answer that comes meanwhile.
fn aside(answer: impl Future<Output = Answer> + Send + 'static) -> JoinHandle<Answer> {
    tokio::runtime::Handle::current().spawn(answer)
}

/// What the command line prints for a query.
fn printed(text: &str, format: &str) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", "data", "--threads", "2", "query", text, "--format", format])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn one(batches: Vec<RecordBatch>) -> RecordBatch {
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_the_command_line_in_every_format() {
    let server = Server::begin(&[]);
    let text = "select symbol, ts, close, macd(12, 26, 9) m, array[open, null] l, null n from candles \
                where symbol in ('IT', 'ACN') order by symbol, ts limit 500";
    for format in ["ndjson", "json", "csv", "tsv"] {
        // CSV has no lists.
        let text = if format.ends_with("sv") { text.replace("array[open, null] l, ", "") } else { text.to_string() };
        let answer = sent(server.sql(&text).query(&[("format", format)])).await;
        assert_eq!((answer.status, answer.is_broken), (200, false), "{}", answer.text());
        assert!(answer.body == printed(&text, format), "{format}");
    }
    let session = session().await;
    let expected = one(session.query(text).collect().await.unwrap());
    for format in ["arrow", "parquet"] {
        let kind = format!("application/vnd.apache.{}", if format == "arrow" { "arrow.stream" } else { format });
        let answer = sent(server.sql(text).header("accept", &kind)).await;
        assert_eq!(answer.headers["content-type"], kind.as_str());
        let rows: Vec<RecordBatch> = match format {
            "arrow" => StreamReader::try_new(&answer.body[..], None).unwrap().map(Result::unwrap).collect(),
            _ => ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(answer.body))
                .unwrap()
                .build()
                .unwrap()
                .map(Result::unwrap)
                .collect(),
        };
        let rows = one(rows);
        assert_eq!(rows.num_rows(), expected.num_rows());
        let shown = |rows: &RecordBatch| {
            arrow::util::pretty::pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string()
        };
        let body = |text: String| text.lines().skip(3).map(str::to_string).collect::<Vec<_>>();
        assert_eq!(body(shown(&rows)), body(shown(&expected)), "{format}");
    }
    // No rows are an answer too.
    let none = sent(
        server.sql("select symbol, ts from candles where symbol = 'ACN' and close < 0").query(&[("format", "csv")]),
    )
    .await;
    assert_eq!((none.status, none.text().as_str()), (200, "symbol,ts\n"));
    server.is_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_options_in_its_address_and_in_its_body() {
    let server = Server::begin(&[]);
    let of_address = "/v1/sql?q=select+symbol,ts,sma(:n)+s,close+from+candles+order+by+symbol,ts&param_n=3&symbols=IT,ACN&from=2018-01-02\
                      &to=2018-01-04&fields=ts,s&format=json";
    let get = sent(server.get(of_address)).await;
    let body = serde_json::json!({"sql": "select symbol, ts, sma(:n) s, close from candles order by symbol, ts", "params": {"n": 3},
        "symbols": ["IT", "ACN"], "from": "2018-01-02", "to": "2018-01-04", "fields": ["ts", "s"], "format": "json"});
    let post = server.client.post(server.url("/v1/sql")).header("content-type", "application/json");
    let post = sent(post.body(body.to_string())).await;
    assert_eq!(get.json(), post.json());
    let rows = get.json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["s", "ts"]);
    // Bars before the range are read for the indicator.
    assert!(rows.iter().all(|row| row["s"].is_number()), "{rows:?}");
    let named = sent(server.get("/v1/queries/rsi_oversold?format=csv")).await;
    let expected = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", "data", "--threads", "2", "run", "rsi_oversold", "--format", "csv"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(named.text(), String::from_utf8_lossy(&expected.stdout));
    let listed = sent(server.get("/v1/queries")).await.json();
    assert!(listed.as_array().unwrap().iter().any(|query| query["name"] == "rsi_oversold"));
    let summary: Value = serde_json::from_str(get.headers["x-tallow-summary"].to_str().unwrap()).unwrap();
    assert_eq!((summary["rows"].as_u64(), summary["bytes"].as_u64()), (Some(4), Some(get.body.len() as u64)));
    // What is longer than what is waited for says what it took at its end, and is compressed where that is understood.
    let long = sent(server.sql("select * from candles").header("accept-encoding", "zstd")).await;
    assert_eq!((long.status, long.headers["content-encoding"].to_str().unwrap()), (200, "zstd"));
    assert_eq!(long.headers["trailer"], "x-tallow-summary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_finds_what_the_command_line_does() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let (reader, runner) = (keys_with(&keys, "reader", "read").1, keys_with(&keys, "runner", "run").1);
    let server = Server::begin(&["--keys", &keys.display().to_string()]);
    let scan = |body: Value, key: &str| {
        let request = server.client.post(server.url("/v1/scan")).bearer_auth(key);
        sent(request.header("content-type", "application/json").body(body.to_string()))
    };
    let body = serde_json::json!({"formula": "rsi(:n) < 30", "params": {"n": 14}, "symbols": ["IT", "ACN"],
        "from": "2015-01-01", "rank": "volume", "top": 20, "format": "csv"});
    let found = scan(body.clone(), &runner).await;
    let args = ["--lake", "data", "--threads", "2", "scan", "rsi(:n) < 30", "--param", "n=14", "--symbols", "IT,ACN"];
    let expected = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(args)
        .args(["--from", "2015-01-01", "--rank", "volume", "--top", "20", "--format", "csv"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!((found.status, found.text()), (200, String::from_utf8_lossy(&expected.stdout).into_owned()));
    assert_eq!(found.text().lines().count(), 21);
    assert_eq!(scan(body, &reader).await.code(), (403, "forbidden".to_string()));
    for (wrong, status) in [
        (serde_json::json!({}), 400),
        (serde_json::json!({"formula": "rsi(clsoe) < 30"}), 400),
        (serde_json::json!({"formula": "close > 1", "limit": 3}), 400),
        (serde_json::json!({"formula": "close > 1", "timeframe": "/etc/passwd"}), 403),
        (serde_json::json!({"formula": "lead(close, 1) > close"}), 422),
    ] {
        let answer = scan(wrong.clone(), &runner).await;
        assert_eq!(answer.status, status, "{wrong}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_its_code_place_and_hint() {
    let server = Server::begin(&["--query-memory", "24m"]);
    let wrong = sent(server.sql("select symbol,\n  clse from candles")).await;
    assert_eq!(wrong.code(), (400, "invalid".to_string()));
    let error = &wrong.json()["error"];
    assert_eq!(
        (&error["position"], &error["hint"]),
        (&serde_json::json!({"line": 2, "column": 3}), &"did you mean `close`?".into())
    );
    assert_eq!(error["query_id"].as_str(), Some(error["query_id"].as_str().unwrap()));
    for (text, code) in [
        ("select * from nothing", (404, "not_found")),
        ("selct 1", (400, "invalid")),
        ("", (400, "invalid")),
        ("select 1; select 2", (400, "invalid")),
        (
            "select symbol, ts, lead(close, 1) from candles order by close, open, high, low, volume, ts",
            (503, "resources"),
        ),
    ] {
        let text = text.replace("from candles order", "from candles, generate_series(1, 100) order");
        let answer = sent(server.sql(&text)).await;
        assert_eq!((answer.status, answer.code().1.as_str()), code, "{text}: {}", answer.text());
    }
    let late = sent(server.sql(HEAVY).query(&[("timeout", "200ms")])).await;
    assert_eq!(late.code(), (503, "timeout".to_string()));
    assert_eq!(late.headers["retry-after"], "1");
    for (path, code) in [
        ("/v1/sql", 400),
        ("/v1/sql?q=select+1&limit=3", 400),
        ("/v1/sql?q=select+1&format=xml", 400),
        ("/v1/queries/nothing", 404),
        ("/v1/running/nothing", 404),
        ("/v1/nothing", 404),
        ("/v1/performance?last_n=0", 400),
        ("/v1/performance/summary?window=1s", 400),
    ] {
        let answer = sent(server.get(path)).await;
        assert_eq!(answer.status, code, "{path}: {}", answer.text());
    }
    let id = sent(server.sql("select 1").header("x-query-id", "a b")).await;
    assert_eq!(id.code(), (400, "invalid".to_string()));
    server.is_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_changes_nothing_and_sees_the_lake_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.csv");
    std::fs::write(&file, "symbol,ts,close\nA,2020-01-01,1\n").unwrap();
    let keys = folder.path().join("keys.json");
    let server = Server::begin(&["--keys", keys_with(&keys, "reader", "read").0.as_str()]);
    let reader = keys_with(&keys, "second", "read").1;
    let runner = keys_with(&keys, "runner", "run").1;
    let (path, out) = (file.display(), folder.path().join("out.csv"));
    for key in [&reader, &runner] {
        for text in [
            "create table t as select 1".to_string(),
            "create view v as select 1".to_string(),
            "create or replace view candles as select 1".to_string(),
            format!("create external table t stored as csv location '{path}'"),
            "drop table candles".to_string(),
            "insert into candles values ('A', now(), 1, 1, 1, 1, 1)".to_string(),
            "delete from candles".to_string(),
            "update candles set close = 0".to_string(),
            format!("copy (select 1) to '{}'", out.display()),
            format!("explain analyze copy (select 1) to '{}'", out.display()),
            format!("select * from '{path}'"),
            format!("select * from \"{path}\""),
            "select * from '/etc/passwd'".to_string(),
            "select * from 'data/candles/1d/'".to_string(),
            "select * from 'http://127.0.0.1:1/x.csv'".to_string(),
            format!("select * from adjusted('1d', '{path}')"),
            format!("select * from trade_labels('{path}', '1d')"),
            "select predict('/etc/passwd.json', 1)".to_string(),
            "select predict('../x', 1)".to_string(),
            "set datafusion.runtime.memory_limit = '100g'".to_string(),
            "set datafusion.execution.target_partitions = 1000".to_string(),
            "reset datafusion.execution.batch_size".to_string(),
            "prepare p as select 1".to_string(),
            "begin".to_string(),
        ] {
            let answer = sent(server.sql(&text).bearer_auth(key)).await;
            let said = answer.text();
            assert!([400, 403, 404].contains(&answer.status), "{text}: {} {said}", answer.status);
            assert!(!said.contains("root:") && !said.contains("2020-01-01"), "{text}: {said}");
        }
    }
    assert!(!out.exists());
    // What is set is so for this text alone.
    let shown = "select value from information_schema.df_settings where name = 'datafusion.execution.time_zone'";
    let set =
        sent(server.sql(&format!("set datafusion.execution.time_zone = 'Asia/Tokyo'; {shown}")).bearer_auth(&reader))
            .await;
    assert_eq!((set.status, set.text().trim()), (200, r#"{"value":"Asia/Tokyo"}"#));
    // ... also if something after it fails.
    let failed = "set datafusion.execution.time_zone = 'Asia/Tokyo'; select cast('x' || value as int) from generate_series(1, 2)";
    assert_eq!(sent(server.sql(failed).bearer_auth(&reader)).await.status, 400);
    for _ in 0..10 {
        assert!(!sent(server.sql(shown).bearer_auth(&reader)).await.text().contains("Tokyo"));
    }
    let whole = sent(server.sql("select count(*) c from candles_1d").bearer_auth(&reader)).await;
    assert_eq!(whole.status, 200);
}

/// The file with a new key in it, and the key.
pub fn keys_with(file: &Path, name: &str, role: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["key", "add", name, "--role", role, "--keys"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (file.display().to_string(), String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_is_refused_on_every_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let reader = keys_with(&file, "reader", "read").1;
    let writer = keys_with(&file, "writer", "write").1;
    let over = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["key", "add", "over", "--until", "2020-01-01", "--keys"])
        .arg(&file)
        .output()
        .unwrap();
    let over = String::from_utf8_lossy(&over.stdout).trim().to_string();
    let server = Server::begin(&["--keys", &file.display().to_string()]);
    let routes = [
        ("GET", "/v1/sql?q=select+1", 200),
        ("POST", "/v1/sql", 400),
        ("GET", "/v1/queries", 200),
        ("GET", "/v1/queries/rsi_oversold", 200),
        ("POST", "/v1/queries/rsi_oversold", 200),
        ("POST", "/v1/scan", 403),
        ("GET", "/v1/running", 200),
        ("GET", "/v1/running/x", 404),
        ("DELETE", "/v1/running/x", 404),
        ("GET", "/v1/performance", 200),
        ("GET", "/v1/performance/summary", 200),
        ("POST", "/v1/performance/clear", 403),
        ("GET", "/metrics", 200),
        ("GET", "/health/detailed", 200),
        ("GET", "/nothing", 404),
    ];
    let request = |method: &str, path: &str| server.client.request(method.parse().unwrap(), server.url(path));
    for (method, path, status) in routes {
        for refused in [
            request(method, path),
            request(method, path).bearer_auth("tallow_0"),
            request(method, path).bearer_auth(&over),
            request(method, path).header("authorization", format!("Basic {reader}")),
            request(method, path).header("x-api-key", ""),
        ] {
            let answer = sent(refused).await;
            assert_eq!(answer.code(), (401, "unauthorized".to_string()), "{method} {path}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        let answer = sent(request(method, path).bearer_auth(&reader)).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    assert_eq!(sent(request("POST", "/v1/performance/clear").header("x-api-key", &writer)).await.status, 204);
    for open in ["/health/live", "/health/ready"] {
        assert_eq!(sent(request("GET", open)).await.status, 200);
    }
    // A key that is revoked lets nobody in soon after.
    let revoked =
        Command::new(env!("CARGO_BIN_EXE_tallow")).args(["key", "revoke", "reader", "--keys"]).arg(&file).status();
    assert!(revoked.unwrap().success());
    let begun = Instant::now();
    while sent(request("GET", "/v1/queries").bearer_auth(&reader)).await.status != 401 {
        assert!(begun.elapsed() < HANGS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sent(request("GET", "/v1/queries").bearer_auth(&writer)).await.status, 200);
    // A key is nowhere to be seen.
    let seen = sent(server.sql("select * from system.queries").bearer_auth(&writer)).await.text();
    assert!(seen.contains("reader") && !seen.contains(&reader[7..]) && !seen.contains(&writer[7..]));
    let metrics = sent(server.get("/metrics").bearer_auth(&writer)).await.text();
    assert!(metrics.contains("tallow_queries_total{state=\"done\"}") && metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_is_refused() {
    let server = Server::begin(&[]);
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")] {
        let answer = sent(server.sql("select 1").header(name, value)).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    let form = server.client.post(server.url("/v1/sql")).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(sent(form.body("sql=select+1")).await.status, 400);
}

/// How often things are stopped.
fn rounds() -> usize {
    if std::env::var_os("TALLOW_LONG").is_some() { 1_000 } else { 20 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_stopped_gives_back_what_it_held() {
    let server = Server::begin(&[]);
    for round in 0..rounds() {
        let id = format!("round-{round}");
        let running = aside(sent(server.sql(HEAVY).header("x-query-id", &id)));
        server.runs(1).await;
        let shown = sent(server.get(&format!("/v1/running/{id}"))).await.json();
        assert_eq!((shown["state"].as_str(), shown["text"].as_str()), (Some("running"), Some(HEAVY)));
        let twice = sent(server.sql("select 1").header("x-query-id", &id)).await;
        assert_eq!(twice.code(), (409, "conflict".to_string()));
        let stopped = sent(server.client.delete(server.url(&format!("/v1/running/{id}")))).await;
        assert_eq!(stopped.status, 204);
        assert_eq!(running.await.unwrap().code(), (499, "cancelled".to_string()));
        server.is_idle().await;
    }
    let ended = sent(server.sql("select count(*) c from system.queries where state = 'cancelled'")).await.json();
    assert_eq!(ended["c"].as_u64(), Some(rounds() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_has_nothing_running() {
    let server = Server::begin(&[]);
    // In every second round the answer has begun, and is longer than what fits anywhere.
    let long = "select value, value * 2 b, value * 3 c from generate_series(1, 100000000000)";
    for round in 0..rounds() {
        let text = [HEAVY, long][round % 2];
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let head = format!(
            "POST /v1/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/sql\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        if text == long {
            stream.read_exact(&mut [0; 1_000]).unwrap();
        }
        server.runs(1).await;
        drop(stream);
        server.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_taken_for_a_result() {
    let server = Server::begin(&[]);
    // It fails after half a million rows.
    let text =
        "select value, cast(case when value = 500000 then 'no' else '1' end as int) x from generate_series(1, 1000000)";
    for format in ["ndjson", "json", "csv", "arrow", "parquet"] {
        let answer = sent(server.sql(text).query(&[("format", format)])).await;
        assert!(answer.status != 200 || answer.is_broken, "{format}: {}", answer.status);
        if format == "ndjson" {
            let text = answer.text();
            let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert!(last["error"]["message"].as_str().unwrap().contains("'no'"), "{last}");
            assert!(text.lines().count() > 1_000 && answer.is_broken);
        }
        server.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::begin(&["--running", "1", "--waiting", "1"]);
    let first = aside(sent(server.sql(HEAVY).header("x-query-id", "first")));
    server.runs(1).await;
    let second = aside(sent(server.sql("select 1 x").header("x-query-id", "second")));
    while sent(server.get("/v1/running/second")).await.json()["state"] != "waiting" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let third = sent(server.sql("select 1")).await;
    assert_eq!((third.code(), third.headers["retry-after"].to_str().unwrap()), ((503, "unavailable".to_string()), "1"));
    // Who waits is next, and time that is waited counts.
    let late = sent(server.client.delete(server.url("/v1/running/first"))).await;
    assert_eq!((late.status, first.await.unwrap().status), (204, 499));
    assert_eq!(second.await.unwrap().text(), "{\"x\":1}\n");
    let keys = folder.path().join("keys.json");
    let key = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["key", "add", "few", "--queries", "1", "--requests", "600", "--keys"])
        .arg(&keys)
        .output()
        .unwrap();
    let key = String::from_utf8_lossy(&key.stdout).trim().to_string();
    let server = Server::begin(&["--keys", &keys.display().to_string()]);
    let first = aside(sent(server.sql(HEAVY).header("x-query-id", "first").bearer_auth(&key)));
    while sent(server.get("/v1/running/first").bearer_auth(&key)).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let more = sent(server.sql("select 1").bearer_auth(&key)).await;
    assert_eq!(more.code(), (429, "rate_limited".to_string()));
    assert!(more.headers.contains_key("retry-after"));
    let stopped = server.client.delete(server.url("/v1/running/first")).bearer_auth(&key);
    assert_eq!((sent(stopped).await.status, first.await.unwrap().status), (204, 499));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_ended_when_the_server_is() {
    let mut server = Server::begin(&["--drain", "60s"]);
    // Its rows are taken slowly, and it is not at its end when the server is asked to end.
    let text = "select value from generate_series(1, 3000000)";
    let mut response = server.sql(text).send().await.unwrap();
    let mut lines = response.chunk().await.unwrap().unwrap().to_vec();
    server.terminate();
    let begun = Instant::now();
    // It takes no further connections.
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(begun.elapsed() < HANGS);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while let Some(chunk) = response.chunk().await.unwrap() {
        lines.extend(chunk);
    }
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3_000_000);
    assert!(server.child.wait().unwrap().success());
}
