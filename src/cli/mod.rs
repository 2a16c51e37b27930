//! The command line: arguments, formats, progress, exit status. No analytics.

mod args;
mod care;
mod commands;
mod config;
mod destination;
mod ingest;
mod label;
mod left_out;
mod matching;
mod output;
mod pattern;
mod portable;
mod progress;
mod repl;
mod report;
mod scan;

use crate::error::Error;
use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Exit status where the command line itself is wrong, whatever the lake and the files hold, as clap gives it. What cannot
/// be done for another reason, such as a name that nothing has or SQL that does not fit its tables, ends with 1.
const USAGE: u8 = 2;
/// Exit status after an interrupt.
const INTERRUPTED: u8 = 130;
/// Exit status of a command that finished with some symbols failed.
const PARTIAL: u8 = 3;

/// How a command ended, where it did not simply succeed.
#[derive(Debug)]
enum Failure {
    Error(Error),
    Usage(String),
    /// Some of it failed, which was told; the rest is done.
    Partial,
    /// It was interrupted, and what was complete is done.
    Interrupted,
    /// Standard output was closed, as by `| head`: not worth a word.
    ClosedPipe,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Error(error.into())
    }
}

/// What is wrong with a value that was typed.
fn usage(error: Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(&args);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&format!("cannot start: {error}"), 1),
    };
    let outcome = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let ends_by_itself = matches!(args.command, Some(Command::Scan(_)));
        let mut work = std::pin::pin!(dispatch(args, cancel.clone()));
        tokio::select! {
            outcome = &mut work => return Some(outcome),
            _ = tokio::signal::ctrl_c() => cancel.cancel(),
        }
        if !ends_by_itself {
            return None;
        }
        // A second interrupt does not wait for what is complete.
        tokio::select! {
            outcome = &mut work => Some(outcome),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    // Work that was interrupted may still hold a thread; the process does not wait for it.
    runtime.shutdown_background();
    match outcome {
        Some(Ok(())) | Some(Err(Failure::ClosedPipe)) => ExitCode::SUCCESS,
        Some(Err(Failure::Error(error))) => say(&format!("error: {error}"), 1),
        Some(Err(Failure::Partial)) => ExitCode::from(PARTIAL),
        Some(Err(Failure::Interrupted)) => ExitCode::from(INTERRUPTED),
        Some(Err(Failure::Usage(message))) => say(&format!("error: {message}"), USAGE),
        None => say("interrupted", INTERRUPTED),
    }
}

fn say(message: &str, status: u8) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(status)
}

async fn dispatch(args: Args, cancel: CancellationToken) -> Result<(), Failure> {
    let config = config::Config::load(&args.global)?;
    match args.command {
        None => repl::run(&config).await,
        Some(Command::Query(query)) => commands::query(&config, query).await,
        Some(Command::Run(run)) => commands::run(&config, run).await,
        Some(Command::Explain(explain)) => commands::explain(&config, explain).await,
        Some(Command::Functions(functions)) => commands::functions(&functions),
        Some(Command::Tables) => commands::tables(&config).await,
        Some(Command::Describe(describe)) => commands::describe(&config, describe).await,
        Some(Command::Scan(args)) => scan::scan(&config, *args, cancel).await,
        Some(Command::Formula(command)) => scan::formula(&config, command).await,
        Some(Command::Pattern(command)) => pattern::pattern(&config, command).await,
        Some(Command::Match(args)) => matching::search(&config, *args).await,
        Some(Command::Report(command)) => report::report(&config, *command, cancel).await,
        Some(Command::Label(args)) => label::label(&config, *args).await,
        Some(Command::Levels(args)) => label::levels(&config, args).await,
        Some(Command::Check(args)) => label::check(&config, args).await,
        Some(Command::Ingest(args)) => ingest::ingest(&config, *args).await,
        Some(Command::Validate(args)) => care::validate(&config, args).await,
        Some(Command::Optimize(args)) => care::optimize(&config, args).await,
        Some(Command::Resample(args)) => care::resample(&config, args).await,
        Some(Command::Vacuum(args)) => care::vacuum(&config, args).await,
        Some(Command::History(args)) => care::history(&config, args).await,
        Some(Command::Synth(synth)) => commands::synth(&config, &synth),
        Some(Command::Config) => config.show(),
    }
}

fn start_logging(args: &Args) {
    use tracing_subscriber::EnvFilter;
    let level = match (args.global.quiet, args.global.verbose) {
        (true, _) => "error",
        // The log's own library reports conflicts and missing versions, which are handled here.
        (_, 0) => "warn,tallow=info,deltalake_core=off,buoyant_kernel=off,tiny_skia=off",
        (_, 1) => "info,tallow=debug,deltalake_core=warn,buoyant_kernel=off",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("TALLOW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let builder = builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if args.global.log_format == args::LogFormat::Json {
        builder.json().init();
    } else {
        builder.without_time().with_level(args.global.verbose > 0).init();
    }
}
