//! The manual and the README: every example in them is run as a reader would, and shows what they say it shows.
//!
//! Blocks of a file run in their order, in a folder of their own with the sample in `data/` and a lake of it:
//! * `sh`: a script that succeeds.
//! * `console`: `$` begins a command and `>` continues it; what follows is what it prints, where `...` stands for any lines.
//! * `sql`: a text for `tallow query`.
//!
//! `status=N` after the language is the exit status of the last command. Times and speeds may differ. `cargo run -- ...`
//! runs the program that is tested; other uses of cargo and git do nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a shell does first: both streams are one, as on a terminal, and nothing is built.
const PRELUDE: &str = r#"
exec 2>&1
tallow() { "$TALLOW_TESTED" "$@"; }
git() { :; }
cargo() {
    [ "$1" = run ] || return 0
    while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
    [ $# -gt 1 ] || return 0
    shift
    tallow "$@"
}
set -e
"#;

/// A fenced block of code.
struct Block {
    /// Language, and what is said of it.
    info: String,
    /// Line of the file at which it begins.
    line: usize,
    lines: Vec<String>,
}

impl Block {
    fn all(text: &str) -> Vec<Block> {
        let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (vec![], None);
        for (i, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => open = Some(Block { info: info.to_string(), line: i + 1, lines: vec![] }),
                (None, None) => {}
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.lines.push(line.to_string()),
            }
        }
        assert!(open.is_none(), "a block of code is not closed");
        blocks
    }

    fn language(&self) -> &str {
        self.info.split([' ', ',']).next().unwrap_or_default()
    }

    fn status(&self) -> i32 {
        self.info.split(' ').find_map(|word| word.strip_prefix("status=")).map_or(0, |n| n.parse().unwrap())
    }

    /// The commands of a console, each with what it prints.
    fn commands(&self) -> Vec<(String, Vec<&str>)> {
        let mut commands: Vec<(String, Vec<&str>)> = vec![];
        for line in &self.lines {
            match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
                (Some(command), ..) => commands.push((command.to_string(), vec![])),
                (None, Some(more), Some((command, printed))) if printed.is_empty() => {
                    command.push('\n');
                    command.push_str(more);
                }
                (.., Some((_, printed))) => printed.push(line),
                (.., None) => panic!("line {}: a console begins with a command", self.line),
            }
        }
        commands
    }
}

/// A folder in which examples run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("{ROOT}/data"), place.0.path().join("data")).unwrap();
        place
    }

    /// With a lake of the sample.
    fn with_lake() -> Place {
        static LAKE: LazyLock<Place> = LazyLock::new(|| {
            let place = Place::new();
            let (status, said) = place.run(
                "export TALLOW_LAKE=~/market
                 tallow ingest data/candles/1d -t 1d && tallow ingest data/candles/4h -t 4h",
            );
            assert_eq!(status, 0, "{said}");
            place
        });
        let place = Place::new();
        copy(&LAKE.0.path().join("market"), &place.0.path().join("market"));
        place
    }

    /// Exit status and everything printed.
    fn run(&self, script: &str) -> (i32, String) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{PRELUDE}{script}")).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TALLOW_")) {
            command.env_remove(name);
        }
        command.env("TALLOW_TESTED", env!("CARGO_BIN_EXE_tallow")).env("HOME", self.0.path());
        // As where its reader has filled it, and said so to the shell.
        let lake = self.0.path().join("market");
        if lake.exists() {
            command.env("TALLOW_LAKE", lake);
        }
        command.env("TALLOW_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
        let done = command.output().unwrap();
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// What is wrong with the examples of a text.
    fn faults(&self, text: &str) -> Vec<String> {
        let mut faults = vec![];
        for block in Block::all(text) {
            let script = block.lines.join("\n");
            let (expected, (status, said)) = match block.language() {
                "sh" => (block.status(), self.run(&script)),
                "sql" => {
                    std::fs::write(self.0.path().join("example.sql"), &script).unwrap();
                    (block.status(), self.run("tallow query -f example.sql"))
                }
                "console" => {
                    faults.extend(self.console_faults(&block));
                    continue;
                }
                _ => continue,
            };
            if status != expected {
                faults.push(format!("line {}: exit status {status}\n{said}", block.line));
            }
        }
        faults
    }

    fn console_faults(&self, block: &Block) -> Vec<String> {
        let commands = block.commands();
        let last = commands.len() - 1;
        let mut faults = vec![];
        for (i, (command, printed)) in commands.iter().enumerate() {
            let (status, said) = self.run(command);
            let expected = if i == last { block.status() } else { 0 };
            let printed: Vec<String> = printed.iter().map(|line| timeless(line)).collect();
            let got: Vec<String> = said.lines().filter(|line| !is_summary(line)).map(timeless).collect();
            if status != expected || !fits(&printed, &got) {
                let got = got.join("\n");
                faults.push(format!("line {}: $ {command}\nexit status {status}, printed:\n{got}", block.line));
            }
        }
        faults
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A line without the times and speeds in it, and without the spaces at its end.
fn timeless(line: &str) -> String {
    static TIMES: LazyLock<regex::Regex> = LazyLock::new(|| regex::Regex::new(r"\d+(\.\d+)? (s\b|rows/s)").unwrap());
    TIMES.replace_all(line.trim_end(), "# $2").into_owned()
}

/// Whether a line is printed after long jobs only.
fn is_summary(line: &str) -> bool {
    line.contains(" peak memory, ") || timeless(line) == "# s"
}

/// Whether lines are those that are expected, of which `...` stands for any.
fn fits(expected: &[String], got: &[String]) -> bool {
    match expected.split_first() {
        None => got.is_empty(),
        Some((any, rest)) if any == "..." => (0..=got.len()).any(|skipped| fits(rest, &got[skipped..])),
        Some((line, rest)) => got.split_first().is_some_and(|(first, more)| first == line && fits(rest, more)),
    }
}

fn topics() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("{ROOT}/src/cli/help")).unwrap().map(|entry| entry.unwrap().path());
    let mut topics: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    topics.sort();
    topics
}

#[test]
#[cfg(unix)]
fn every_example_of_the_manual_runs_and_shows_what_it_says() {
    let mut faults = vec![];
    for topic in topics() {
        let text = std::fs::read_to_string(&topic).unwrap();
        let name = topic.file_name().unwrap().to_string_lossy();
        faults.extend(Place::with_lake().faults(&text).into_iter().map(|fault| format!("{name}, {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
#[cfg(unix)]
fn every_example_of_the_readme_runs_and_shows_what_it_says() {
    // Its reader has the sample, and fills a lake on the way.
    let text = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let faults = Place::new().faults(&text);
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn the_readme_is_short_and_its_links_lead_somewhere() {
    let text = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    assert!(text.lines().count() <= 180, "{} lines", text.lines().count());
    for link in text.split("](").skip(1) {
        let address = link.split(')').next().unwrap();
        let file = address.split('#').next().unwrap();
        assert!(address.starts_with("https://") || Path::new(ROOT).join(file).exists(), "{address}");
    }
}

#[test]
fn files_that_the_guides_name_are_there() {
    for guide in ["src/README.md", "tests/README.md"] {
        let text = std::fs::read_to_string(Path::new(ROOT).join(guide)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|word| word.contains('/') && !word.contains([' ', '*', '\n', ':', '=']));
        for path in paths {
            assert!(Path::new(ROOT).join(path).exists(), "{guide}: `{path}`");
        }
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let folder = Path::new(ROOT).join(guide).parent().unwrap().to_path_buf();
            assert!(link.starts_with("https://") || folder.join(link).exists(), "{guide}: {link}");
        }
    }
}

#[test]
fn help_shows_topics_beside_commands() {
    let tallow = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_tallow")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = text(&tallow(&["help"]).stdout);
    assert!(list.contains("Find the bars of all symbols") && list.contains("Manual"), "{list}");
    for topic in topics() {
        let name = topic.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(list.contains(&format!("\n  {name} ")), "{name} is not listed");
        let shown = tallow(&["help", &name]);
        assert!(shown.status.success() && shown.stdout.len() > 200 && shown.stderr.is_empty(), "{name}");
    }
    let (scan, option) = (tallow(&["help", "scan"]), tallow(&["scan", "--help"]));
    assert!(scan.status.success() && scan.stdout == option.stdout);
    assert!(text(&scan.stdout).contains("Usage: tallow scan") && text(&scan.stdout).contains("tallow help scans"));
    assert!(text(&tallow(&["help", "pattern", "add"]).stdout).contains("Usage: tallow pattern add"));
    let wrong = tallow(&["help", "scnas"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean `scans`?"), "{}", text(&wrong.stderr));
}
