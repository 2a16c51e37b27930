//! `tallow` alone: an interactive session.

use super::Failure;
use super::args::{Format, OutputArgs};
use super::config::Config;
use super::output::note;
use super::{destination, statement};
use crate::Error;
use crate::Session;
use crate::pipeline::functions::describe_all;
use crate::pipeline::query::Query;
use clap::ValueEnum;
use datafusion::catalog::{SchemaProvider, TableProvider};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper, Highlighter, Hinter};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

const HELP: &str = "\
SQL ends with a semicolon. Commands:
  .tables               tables of the lake
  .schema TABLE         columns of a table
  .functions [PATTERN]  functions
  .mode FORMAT          table, csv, tsv, json, ndjson, markdown, parquet, arrow
  .timer on|off         show how long a statement took
  .read FILE            run the SQL in a file
  .output [FILE]        write results to a file; without one, to the screen
  .quit";

const COMMANDS: [&str; 9] =
    [".help", ".tables", ".schema", ".functions", ".mode", ".timer", ".read", ".output", ".quit"];

struct State {
    output: OutputArgs,
    timer: bool,
}

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let session = config.session().await?;
    let mut state = State { output: OutputArgs { format: None, output: None, max_rows: 40 }, timer: false };
    if !std::io::stdin().is_terminal() {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::stdin(), &mut text)
            .map_err(|e| Error::File("standard input".to_string(), e))?;
        return script(&session, config, &mut state, &text).await;
    }
    let words = SchemaProvider::table_names(session.lake())
        .into_iter()
        .chain(describe_all().into_iter().map(|f| f.name))
        .chain(COMMANDS.map(str::to_string))
        .collect();
    let mut editor: Editor<Words, _> = Editor::new().map_err(terminal)?;
    editor.set_helper(Some(Words { words }));
    let history = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".tallow_history"));
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    let _ = writeln!(std::io::stdout(), "tallow {}  .help for help", env!("CARGO_PKG_VERSION"));
    loop {
        match editor.readline("tallow> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                let _ = editor.add_history_entry(line.trim());
                match handle(&session, config, &mut state, line.trim()).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Failure::Error(error)) => note(format_args!("error: {error}")),
                    Err(Failure::Usage(message)) => note(format_args!("error: {message}")),
                    Err(Failure::Partial | Failure::Interrupted) => {}
                    Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(error)),
        }
    }
    if let Some(path) = &history {
        let _ = editor.save_history(path);
    }
    Ok(())
}

/// The formats that there are.
fn modes() -> String {
    Format::value_variants().iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
}

fn terminal(error: ReadlineError) -> Failure {
    Failure::Error(Error::File("terminal".to_string(), std::io::Error::other(error)))
}

/// Commands and SQL from a pipe: lines that begin with a dot are commands, the rest is SQL.
async fn script(session: &Session, config: &Config, state: &mut State, text: &str) -> Result<(), Failure> {
    let mut sql = String::new();
    for line in text.lines() {
        if line.starts_with('.') && sql.trim().is_empty() {
            if !handle(session, config, state, line).await? {
                return Ok(());
            }
            continue;
        }
        sql.push_str(line);
        sql.push('\n');
        if line.trim_end().ends_with(';') {
            handle(session, config, state, &std::mem::take(&mut sql)).await?;
        }
    }
    if !sql.trim().is_empty() {
        handle(session, config, state, &sql).await?;
    }
    Ok(())
}

/// Carries out one input; `false` ends the session.
async fn handle(session: &Session, config: &Config, state: &mut State, input: &str) -> Result<bool, Failure> {
    if !input.starts_with('.') {
        let started = Instant::now();
        statement::run(session, config, &Query::of(input), &state.output).await?;
        if state.timer {
            note(format_args!("{:.3} s", started.elapsed().as_secs_f64()));
        }
        return Ok(true);
    }
    let (command, rest) = input.split_once(char::is_whitespace).map_or((input, ""), |(c, r)| (c, r.trim()));
    let mut out = std::io::stdout();
    match (command, rest) {
        (".quit" | ".exit" | ".q", _) => return Ok(false),
        (".help", _) => drop(writeln!(out, "{HELP}")),
        (".tables", _) => {
            for name in SchemaProvider::table_names(session.lake()) {
                let _ = writeln!(out, "{name}");
            }
        }
        (".schema", table) if !table.is_empty() => match session.lake().table(table.trim_matches('\'')).await? {
            Some(table) => {
                for field in TableProvider::schema(table.as_ref()).fields() {
                    let _ = writeln!(out, "{:<12} {}", field.name(), field.data_type());
                }
            }
            None => return Err(Error::not_found(format!("no table `{table}`")).into()),
        },
        (".functions", pattern) => {
            let all = describe_all();
            let matches = |text: &String| text.to_ascii_lowercase().contains(&pattern.to_ascii_lowercase());
            let found: Vec<_> = all.iter().filter(|f| [&f.name, &f.family, &f.doc].into_iter().any(matches)).collect();
            if found.is_empty() {
                return Err(Error::invalid(format!("no function matches `{pattern}`")).into());
            }
            for f in found {
                let _ = writeln!(out, "{:<60} {}", f.usage, f.doc);
            }
        }
        (".mode", mode) => match Format::from_str(mode, true) {
            Ok(format) => state.output.format = Some(format),
            Err(_) => return Err(Failure::Usage(format!("unknown mode `{mode}`: expected {}", modes()))),
        },
        (".timer", "on") => state.timer = true,
        (".timer", "off") => state.timer = false,
        (".output", "") => state.output.output = None,
        (".output", file) => {
            let output = OutputArgs { output: Some(file.into()), ..state.output.clone() };
            destination::check(&output)?;
            state.output = output;
        }
        (".read", file) if !file.is_empty() => {
            let text = std::fs::read_to_string(file).map_err(|e| Error::File(file.to_string(), e))?;
            statement::run(session, config, &Query::of(text), &state.output).await?;
        }
        _ => return Err(Failure::Usage(format!("unknown command `{input}`; .help lists all"))),
    }
    Ok(true)
}

/// Completes tables, functions and commands; waits for the semicolon.
#[derive(Helper, Highlighter, Hinter)]
struct Words {
    words: Vec<String>,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = line[..pos].rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').map_or(0, |i| i + 1);
        let prefix = line[start..pos].to_ascii_lowercase();
        let found = self.words.iter().filter(|w| w.starts_with(&prefix)).cloned().collect();
        Ok((start, if prefix.is_empty() { vec![] } else { found }))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim();
        let complete = input.is_empty() || input.starts_with('.') || input.ends_with(';');
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}
