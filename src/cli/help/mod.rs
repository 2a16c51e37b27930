//! `tallow help TOPIC`: the manual, which comes with the program.
//!
//! A topic is a Markdown file of this folder and a line of [`TOPICS`]. Its first line is `# Title: what it is about`; all of
//! its examples are run by `tests/all/manual.rs`. What is asked for a command is answered by clap.

use super::args::Args;
use clap::CommandFactory;
use std::fmt::Write;
use tallow_engine::dialect::closest;

/// A topic of the manual.
struct Topic {
    name: &'static str,
    text: &'static str,
    /// The commands whose help points here.
    commands: &'static [&'static str],
}

macro_rules! topics {
    ($($name:literal: [$($command:literal),*],)*) => {
        /// The manual, in the order in which it is listed.
        const TOPICS: &[Topic] = &[$(Topic {
            name: $name,
            text: include_str!(concat!($name, ".md")),
            commands: &[$($command),*],
        }),*];

        // Rust examples of the manual are compiled with the documentation tests.
        $(#[cfg(doctest)]
        #[doc = include_str!(concat!($name, ".md"))]
        const _: () = ();)*
    };
}

topics! {
    "start": [],
    "sql": ["query", "explain"],
    "queries": ["run"],
    "files": ["describe"],
    "indicators": ["functions"],
    "timeframes": ["resample"],
    "calendars": ["calendar"],
    "nulls": [],
    "ranges": [],
    "formulas": ["formula"],
    "scans": ["scan"],
    "backtests": ["backtest", "strategy"],
    "fills": [],
    "weights": [],
    "sweeps": ["sweep"],
    "discovery": ["discover"],
    "patterns": ["pattern", "match"],
    "models": [],
    "labels": ["label"],
    "pipelines": ["pipeline"],
    "feeds": ["live"],
    "paper": [],
    "watching": ["replay"],
    "serving": ["serve", "key"],
    "support-resistance": ["levels"],
    "lookahead": ["check"],
    "signals": [],
    "reports": ["report"],
    "lake": ["tables"],
    "loading": ["ingest"],
    "fetching": ["fetch"],
    "maintenance": ["validate", "optimize", "vacuum", "history"],
    "stores": [],
    "output": [],
    "memory": [],
    "errors": [],
    "settings": ["config"],
    "rust": [],
    "datafusion": [],
}

impl Topic {
    /// What it is about, in a few words.
    fn about(&self) -> &'static str {
        let title = self.text.lines().next().unwrap_or_default();
        title.split_once(": ").map_or(title, |(_, about)| about)
    }
}

/// The command line as clap reads it, whose help names the topics of the manual.
pub(super) fn command() -> clap::Command {
    let width = TOPICS.iter().map(|topic| topic.name.len()).max().unwrap_or_default();
    let mut list = "Manual, shown by `tallow help TOPIC`:\n".to_string();
    for topic in TOPICS {
        let _ = writeln!(list, "  {:<width$}  {}", topic.name, topic.about());
    }
    Args::command().after_help(list.trim_end().to_string()).mut_subcommands(|command| {
        let about = TOPICS.iter().find(|topic| topic.commands.contains(&command.get_name()));
        match about {
            Some(topic) => command.after_help(format!("Manual: tallow help {}", topic.name)),
            None => command,
        }
    })
}

/// The topic that `tallow help TOPIC` asks for, or why there is none; `None` where the command line asks for anything else.
pub(super) fn asked(words: &[String], styled: bool) -> Option<Result<String, String>> {
    let [help, name] = words else { return None };
    if help != "help" || name.starts_with('-') {
        return None;
    }
    if let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) {
        return Some(Ok(rendered(topic.text, styled)));
    }
    let command = command();
    let commands = command.get_subcommands().map(clap::Command::get_name);
    let known: Vec<&str> = commands.chain(["help"]).chain(TOPICS.iter().map(|topic| topic.name)).collect();
    if known.contains(&name.as_str()) {
        return None;
    }
    let similar = closest(name, known).map(|similar| format!("; did you mean `{similar}`?")).unwrap_or_default();
    Some(Err(format!("no command and no topic is called `{name}`{similar}\n`tallow help` lists both")))
}

/// Markdown as text for a terminal: headings stand out, code is indented, links show where they go.
fn rendered(text: &str, styled: bool) -> String {
    let mut out = String::new();
    // The language of the block of code that a line lies in.
    let mut code: Option<&str> = None;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            code = if code.is_none() { Some(language) } else { None };
            continue;
        }
        let _ = match (code, line.strip_prefix("# "), line.strip_prefix("## ")) {
            // Lines that an example needs and a reader does not.
            (Some(language), ..) if language.starts_with("rust") && (line == "#" || line.starts_with("# ")) => Ok(()),
            (Some(_), ..) => writeln!(out, "{}", format!("    {line}").trim_end()),
            (None, Some(title), _) => writeln!(out, "{}", bold(title, styled)),
            (None, None, Some(heading)) => writeln!(out, "{}", bold(&heading.to_uppercase(), styled)),
            (None, None, None) => writeln!(out, "{}", with_links(line)),
        };
    }
    out
}

fn bold(text: &str, styled: bool) -> String {
    if styled { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_string() }
}

/// `[text](address)` as `text (address)`.
fn with_links(line: &str) -> String {
    let parts = line.split_once('[').and_then(|(before, rest)| {
        let (text, rest) = rest.split_once("](")?;
        let (address, after) = rest.split_once(')')?;
        Some(format!("{before}{text} ({address}){}", with_links(after)))
    });
    parts.unwrap_or_else(|| line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_string).collect()
    }

    #[test]
    fn every_file_is_a_topic_of_at_most_120_lines() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/help");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.filter_map(|name| name.strip_suffix(".md").map(str::to_string)).collect();
        let topics: BTreeSet<String> = TOPICS.iter().map(|topic| topic.name.to_string()).collect();
        assert_eq!(files, topics);
        for topic in TOPICS {
            let first = topic.text.lines().next().unwrap();
            assert!(first.starts_with("# ") && first.contains(": "), "{}: {first}", topic.name);
            assert!(topic.text.lines().count() <= 120, "{} is too long for one topic", topic.name);
        }
    }

    #[test]
    fn a_name_is_a_command_or_a_topic() {
        let command = command();
        let commands: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        for topic in TOPICS {
            assert!(!commands.contains(topic.name), "{} is a command", topic.name);
            assert!(topic.commands.iter().all(|c| commands.contains(c)), "{}: {:?}", topic.name, topic.commands);
        }
    }

    #[test]
    fn what_the_manual_points_to_is_there() {
        let command = command();
        let mut known: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        known.extend(TOPICS.iter().map(|topic| topic.name));
        known.extend(["TOPIC", "COMMAND"]);
        let readme = include_str!("../../../README.md");
        for text in TOPICS.iter().map(|topic| topic.text).chain([readme]) {
            for named in text.split("tallow help ").skip(1) {
                let end = named.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(named.len());
                assert!(known.contains(&named[..end]), "`tallow help {}`", &named[..end]);
            }
        }
    }

    #[test]
    fn topics_are_shown_and_commands_are_left_to_clap() {
        let text = asked(&words("help scans"), false).unwrap().unwrap();
        assert!(text.starts_with("Scans: ") && text.contains("\nWHICH BARS\n") && !text.contains("```"), "{text}");
        assert!(text.contains("\n    $ tallow scan "), "{text}");
        for line in ["help scan", "help", "scan help", "help pattern add", "help --help", "help help"] {
            assert!(asked(&words(line), false).is_none(), "{line}");
        }
        let wrong = asked(&words("help scnas"), false).unwrap().unwrap_err();
        assert!(wrong.contains("did you mean `scans`?"), "{wrong}");
    }

    #[test]
    fn markdown_becomes_text() {
        let text = "# Nulls: what\n\nSee [Delta](https://delta.io).\n\n```rust\n# hidden\nshown\n```\n";
        assert_eq!(rendered(text, false), "Nulls: what\n\nSee Delta (https://delta.io).\n\n    shown\n");
        assert!(rendered(text, true).starts_with("\u{1b}[1mNulls: what\u{1b}[0m\n"));
    }
}
