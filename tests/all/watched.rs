//! What a live run says of itself over HTTP, and what it is told there.

use crate::live::{Program, assert_equal_to_batch, begun};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// Sends a request; the status, and the body.
fn ask(port: u16, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let host = if headers.contains("host:") { String::new() } else { format!("host: 127.0.0.1:{port}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
}

fn tallow(folder: &Path, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name}\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_are_posted_and_the_run_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    // Queries that are watched: one gives a number, one does not.
    std::fs::create_dir(folder.path().join("queries")).unwrap();
    for (name, sql) in
        [("days", "select symbol, count(*) from candles where symbol = 'A' group by symbol"), ("none", "select 'x'")]
    {
        let text = format!("-- name: {name}\n-- metric: How many\n{sql}\n");
        std::fs::write(folder.path().join(format!("queries/{name}.sql")), text).unwrap();
    }
    let args = ["--feed", "http://127.0.0.1:0", "--flush", "60s"];
    let program = Program::begun(folder.path(), &args, "listening on http://127.0.0.1:");
    let ask = |method: &str, path: &str, headers: &str, body: &str| ask(program.port, method, path, headers, body);

    // Lines, an array, and what is no candle.
    let (status, answer) = ask("POST", "/v1/candles", "", &lines[..300].concat());
    assert_eq!((status, answer.as_str()), (200, r#"{"accepted":300,"rejected":[]}"#));
    let array = format!("[{}]", lines[300..450].iter().map(|line| line.trim()).collect::<Vec<_>>().join(","));
    assert_eq!(ask("POST", "/v1/candles", "", &array).0, 200);
    let (status, answer) = ask("POST", "/v1/candles", "", &format!("{}no candle\n", lines[450]));
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["accepted"].as_u64(), answer["rejected"][0]["line"].as_u64()), (Some(1), Some(2)));
    let (status, answer) = ask("POST", "/v1/candles", "", "{}\n");
    assert!(status == 400 && answer.contains("missing field `symbol`"), "{status} {answer}");
    assert_eq!(ask("POST", "/v1/candles", "", &lines[451..].concat()).0, 200);

    // What it says of itself.
    let (status, text) = ask("GET", "/metrics", "", "");
    assert_eq!((status, text.ends_with("# EOF\n")), (200, true));
    assert_eq!(metric(&text, "tallow_live_accepted_total"), 600.0);
    assert_eq!(metric(&text, "tallow_live_unreadable_total"), 2.0);
    assert_eq!((metric(&text, "tallow_query_days"), text.contains("tallow_query_none")), (200.0, false));
    assert_eq!(metric(&text, "tallow_live_latency_seconds_count"), 600.0);
    assert_eq!(ask("GET", "/health/live", "", ""), (200, "ok\n".to_string()));
    assert_eq!(ask("GET", "/health/ready", "", ""), (200, "ok\n".to_string()));
    let (status, text) = ask("GET", "/health/detailed", "", "");
    let detailed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, detailed["symbols"].as_u64(), detailed["bar_by_bar"].as_bool()), (200, Some(3), Some(true)));
    assert!(detailed["health"]["score"].as_f64().unwrap() > 50.0, "{text}");

    // A page of another site gets nothing, and tells nothing.
    assert_eq!(ask("GET", "/v1/live", "origin: https://example.com\r\n", "").0, 403);
    assert_eq!(ask("POST", "/v1/candles", "host: example.com\r\n", &lines[0]).0, 403);
    assert_eq!(ask("GET", "/v1/nothing", "", "").0, 404);

    // Reads wait for what it has computed, which is not due to be written yet.
    let address = format!("127.0.0.1:{}", program.port);
    let count = |live: &[&str]| {
        let sql = "select count(*) as n from candles";
        tallow(folder.path(), &[&["-q", "--lake", "lake", "query", sql, "--format", "csv"], live].concat())
    };
    assert_eq!(count(&[]).1, "n\n600\n");
    assert_eq!(count(&["--live", &address]).1, "n\n1200\n");
    assert_eq!(count(&["--live", &address]).1, "n\n1200\n");
    let (is_well, _, said) = count(&["--live", "127.0.0.1:1"]);
    assert!(!is_well && said.contains("the live run at http://127.0.0.1:1/ cannot be asked"), "{said}");

    // The commands find it by its folder.
    let (is_well, out, said) = tallow(folder.path(), &["live", "status"]);
    assert!(is_well && out.contains("600 received, 600 accepted"), "{out}{said}");
    let (_, out, _) = tallow(folder.path(), &["live", "status", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["counters"]["accepted"].as_u64(), Some(600));
    let (is_well, _, said) = tallow(folder.path(), &["live", "baseline", "save"]);
    assert!(!is_well && said.contains("600 candles were computed in the last minute: a baseline needs 1000"), "{said}");
    let (is_well, out, _) = tallow(folder.path(), &["live", "dead-letters", "list"]);
    assert_eq!((is_well, out.as_str()), (true, ""));
    program.stop();
    assert_equal_to_batch(folder.path(), 200).await;
    let (is_well, _, said) = tallow(folder.path(), &["live", "status"]);
    assert!(!is_well && said.contains("no live run 'live' that listens"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_tried_again_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let lines = begun(folder.path()).await;
    // The first day that comes cannot be computed.
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    let query = format!(
        "select symbol, ts, cast(case when symbol = 'A' and ts = to_timestamp({}) then 'x' else '1' end as bigint) x from candles",
        first["ts"]
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(["--lake", "lake", "live", &query, "--emit", "none", "-t", "1d", "--name", "over", "--to", "over"])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines[..30].concat().as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("dead       1"), "{said}");
    let run = |what: &[&str]| tallow(folder.path(), &[&["live", "dead-letters"], what, &["--name", "over"]].concat());
    let (_, out, _) = run(&["list"]);
    let letter: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((letter["symbol"].as_str(), letter["attempts"].as_u64()), (Some("A"), Some(1)));
    assert!(letter["error"].as_str().unwrap().contains("'x' is not a whole number"), "{letter}");
    assert_eq!(run(&["list", "--symbol", "B"]).1, "");
    assert!(run(&["retry"]).2.contains("1 are tried again by the next run"));
    assert!(run(&["drop", "--symbol", "B"]).2.contains("0 are forgotten"));
    assert!(run(&["drop"]).2.contains("1 are forgotten"));
    assert_eq!(run(&["list"]).1, "");
}
