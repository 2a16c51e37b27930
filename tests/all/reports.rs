//! Reports: what is on the page, and what a browser makes of it.

use crate::common::{numbers, settings};
use std::path::Path;
use std::process::{Command, Stdio};
use tallow::pipeline::report::{Bar, Chart, Figure, Page, Section, Source, Window, png};

fn tallow(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tallow"))
        .args(args)
        .env("TALLOW_LAKE", folder.join("lake"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(output.status.success(), "{args:?}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/candles/1d");

/// A lake with the sample's days, a pattern, and a report of each kind.
fn reports(folder: &Path) {
    let page = |name: &str| folder.join(name).display().to_string();
    tallow(folder, &["ingest", SAMPLE, "-t", "1d"]);
    tallow(
        folder,
        &[
            "pattern",
            "add",
            "dip",
            "--symbol",
            "AAPL",
            "--from",
            "2017-05-01",
            "--to",
            "2017-08-31",
            "--label",
            "a <b>",
        ],
    );
    tallow(
        folder,
        &[
            "report",
            "match",
            "dip",
            "--top",
            "4",
            "--score",
            "heuristic",
            "-o",
            &page("match.html"),
            "--png",
            &page("png"),
        ],
    );
    tallow(folder, &["report", "scan", "rsi(14) < 35", "--last", "-o", &page("scan.html"), "--charts", "3"]);
    let dips = ["--entry", "rsi(14) < 35", "--exit", "rsi(14) > 55"];
    tallow(folder, &[&["strategy", "add", "dips"], &dips[..]].concat());
    tallow(folder, &["backtest", "dips", "--benchmark", "AAPL", "-o", &page("backtest.html")]);
    let sweep = ["sweep", "--entry", "rsi(:n) < :level", "--exit", "rsi(:n) > 55", "--param", "n=7,14"];
    tallow(
        folder,
        &[&sweep[..], &["--param", "level=25..35:5", "--walk-forward", "3", "-o", &page("sweep.html")]].concat(),
    );
    tallow(folder, &["label", "-t", "1d"]);
    tallow(folder, &["report", "labels", "labels_1d", "-o", &page("labels.html"), "--charts", "2"]);
}

#[test]
fn a_report_stands_alone_and_shows_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    reports(folder.path());
    for (name, charts) in
        [("match.html", 5), ("scan.html", 3), ("labels.html", 2), ("backtest.html", 9), ("sweep.html", 2)]
    {
        let html = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(html.matches("<svg").count() <= charts && html.contains("<svg"), "{name}");
        let addresses = html.matches("http").count() - html.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(addresses, 0, "{name} names an address");
        assert!(html.contains("version 0"), "{name} tells no version");
    }
    let html = std::fs::read_to_string(folder.path().join("match.html")).unwrap();
    assert!(html.contains("class=\"shade\"") && html.contains("class=\"overlay\"") && html.contains("+5 %"));
    assert!(html.contains("not trained"));
    assert!(
        html.contains("<h2>Patterns</h2>") && html.contains("cut from") && html.contains("stretched to the window")
    );
    let html = std::fs::read_to_string(folder.path().join("scan.html")).unwrap();
    assert!(html.contains("<figcaption>"));
    assert!(html.contains("\u{25b2} hit") && html.contains("rsi(14) 3") && !html.contains("sma(30)"));
    let html = std::fs::read_to_string(folder.path().join("labels.html")).unwrap();
    assert!(html.contains("\u{25b2} label above 0") && html.contains("\u{25bc} label below 0"));
    let html = std::fs::read_to_string(folder.path().join("backtest.html")).unwrap();
    let headings = ["Figures", "Account", "Trades", "Years", "Deepest drawdowns", "Symbols", "All trades"];
    assert!(headings.iter().all(|heading| html.contains(&format!("<h2>{heading}</h2>"))), "{html}");
    let html = std::fs::read_to_string(folder.path().join("sweep.html")).unwrap();
    assert!(
        html.contains("class=\"best\"") && html.contains("<h2>Walk-forward</h2>") && html.contains("overfitting: of")
    );
    let pictures: Vec<_> = std::fs::read_dir(folder.path().join("png")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(pictures.len(), 5);
    for picture in pictures {
        assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"), "{}", picture.display());
    }
}

#[test]
fn text_is_escaped_and_drawn() {
    let bars = (0..40).map(|i| {
        let close = 100.0 + f64::from(i);
        Bar { ts: i64::from(i) * 86_400_000_000, open: close, high: close + 2.0, low: close - 1.0, close, volume: 5.0 }
    });
    let chart = Chart {
        title: "<script>alert(1)</script> & co".to_string(),
        bars: bars.collect(),
        window: Some(Window { first: 10, last: 30, overlay: vec![0.0, 1.0, 0.0], name: String::new() }),
        ..Chart::default()
    };
    let picture = png(&Figure::from(chart.clone())).unwrap();
    // Without the fonts that come along, its letters would be missing.
    assert!(picture.len() > png(&Figure::from(Chart { title: String::new(), ..chart.clone() })).unwrap().len() + 500);
    let rows = arrow::array::RecordBatch::try_from_iter([(
        "symbol",
        std::sync::Arc::new(arrow::array::StringArray::from(vec!["<img src=x>"])) as arrow::array::ArrayRef,
    )])
    .unwrap();
    let page = Page {
        title: "<b>".to_string(),
        parameters: vec![("a".to_string(), "\"quoted\" <i>".to_string())],
        sources: vec![Source { table: "candles".to_string(), version: Some(3), rows: Some(7), made: false }],
        notes: vec![],
        sections: Section::figures("Charts", vec![chart]).into_iter().chain([Section::table("Rows", rows)]).collect(),
    };
    let html = page.html().unwrap();
    for raw in ["<script>alert", "<img", "<b>", "<i>"] {
        assert!(!html.contains(raw), "{raw}");
    }
    assert!(html.contains("version 3, 7 rows"));
}

/// Opens a page in a real browser; returns the document as it is then, and what was said on the console.
fn browse(page: &Path, more: &[&str]) -> (String, String) {
    // Now and then the browser itself crashes, whatever the page.
    let opened = (0..3).map(|_| open(page, more)).find(|output| output.status.code() == Some(0));
    let output = opened.expect("the browser crashed three times");
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    let console: Vec<&str> = said.lines().filter(|l| l.contains("CONSOLE")).collect();
    (String::from_utf8_lossy(&output.stdout).to_string(), console.join("\n"))
}

fn open(page: &Path, more: &[&str]) -> std::process::Output {
    let profile = tempfile::tempdir().unwrap();
    let browser = std::env::var("TALLOW_TEST_BROWSER").unwrap_or_else(|_| "chromium".to_string());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1400,2400"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output
}

#[test]
#[ignore = "needs chromium, or a browser named by TALLOW_TEST_BROWSER"]
fn a_browser_shows_the_charts_sorts_the_table_and_has_nothing_to_complain_about() {
    let folder = tempfile::tempdir().unwrap();
    reports(folder.path());
    for (name, charts) in
        [("match.html", 5), ("scan.html", 1), ("labels.html", 1), ("backtest.html", 4), ("sweep.html", 2)]
    {
        let (document, console) = browse(&folder.path().join(name), &[]);
        assert_eq!(console, "", "{name}");
        assert!(document.matches("<svg").count() >= charts, "{name}");
    }
    // A click on a heading sorts by it, and a click on the button changes the theme.
    let page = folder.path().join("match.html");
    let html = std::fs::read_to_string(&page).unwrap();
    let clicks = "<script>document.querySelectorAll('th button')[7].click();\
                  document.querySelectorAll('th button')[7].click();document.getElementById('theme').click();</script></body>";
    std::fs::write(&page, html.replace("</body>", clicks)).unwrap();
    let (document, console) = browse(&page, &[]);
    assert_eq!(console, "");
    assert!(document.contains("aria-sort=\"descending\"") && document.contains("data-theme="), "{document}");
    let distances: Vec<f64> = document
        .split("<tr>")
        .skip(2)
        .map(|row| {
            row.split("<td").nth(8).unwrap().split('>').nth(1).unwrap().split('<').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(distances.len() == 4 && distances.windows(2).all(|w| w[0] >= w[1]), "{distances:?}");
    // Light and dark are not the same picture.
    let shot = |name: &str, theme: &str| {
        let path = folder.path().join(name);
        let dark = html.replace("<html lang=\"en\">", &format!("<html lang=\"en\" data-theme=\"{theme}\">"));
        std::fs::write(&page, dark).unwrap();
        browse(&page, &[&format!("--screenshot={}", path.display())]);
        std::fs::read(path).unwrap()
    };
    let (light, dark) = (shot("light.png", "light"), shot("dark.png", "dark"));
    assert!(light.len() > 50_000 && dark.len() > 50_000 && light != dark);
}

/// What `--score` adds is what SQL gives for the same features.
#[tokio::test]
async fn scores_on_the_page_are_those_of_sql() {
    let folder = tempfile::tempdir().unwrap();
    tallow(folder.path(), &["ingest", SAMPLE, "-t", "1d"]);
    let add = ["pattern", "add", "dip", "--symbol", "AAPL", "--from", "2017-05-01", "--to", "2017-08-31"];
    tallow(folder.path(), &add);
    let json =
        tallow(folder.path(), &["match", "dip", "--score", "heuristic", "--into", "matches_1d", "--format", "ndjson"]);
    let gain = |line: &str| -> f64 {
        let rest = line.split("\"gain_10\":").nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    };
    let told: Vec<f64> = json.lines().map(gain).collect();
    let lake = folder.path().join("lake").display().to_string();
    let session = tallow::open(tallow::Settings { lake, ..settings() }).await.unwrap();
    let features = tallow::pipeline::score::FEATURES.join(", ");
    let sql = format!(
        "select p['gain_10'] as g from (select score, predict('heuristic', {features}) as p from query('match_features')) \
         order by score desc"
    );
    let own = numbers(&crate::common::query(&session, &sql).await, "g");
    crate::common::assert_close(&own, &told, "gain_10");
}

#[test]
fn the_chart_of_a_symbol_has_lines_among_prices_and_panes_below() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let draw = |output: &str, more: &[&str]| {
        let of =
            ["chart", "AAPL", "-t", SAMPLE, "-f", "sma(50)", "-f", "rsi(14)", "-f", "macd(12, 26, 9)", "-o", output];
        tallow(folder.path(), &[&of[..], more].concat());
    };
    draw(&file("a.html"), &["--bars", "30"]);
    let page = std::fs::read_to_string(file("a.html")).unwrap();
    assert_eq!(page.matches("class=\"told\"").count(), 30);
    assert!(page.contains("open 159") || page.contains("close 159.5"), "a bar tells its values");
    for name in ["sma(50)", "rsi(14)", "macd(12, 26, 9).macdhist"] {
        assert!(page.contains(name), "{name}");
    }
    let svg = {
        draw(&file("a.svg"), &["--to", "2016-01-01"]);
        std::fs::read_to_string(file("a.svg")).unwrap()
    };
    // Two panes below: one line for the average, one and three in them.
    assert!(svg.matches("class=\"line").count() == 5 && svg.contains("to 2015-12-31, 250 bars"), "{}", &svg[..400]);
    draw(&file("a.png"), &[]);
    assert!(std::fs::read(file("a.png")).unwrap().starts_with(b"\x89PNG"));
}
