//! The command line: one file a command, which parses what was typed, calls a use-case of the pipeline, and prints.

mod args;
mod backtest;
mod calendar;
#[cfg(feature = "report")]
mod chart;
mod check;
mod commands;
mod completions;
mod config;
mod describe;
mod destination;
mod discover;
mod explain;
mod fetch;
mod formula;
mod functions;
mod given;
mod help;
mod history;
mod ingest;
mod key;
mod label;
mod levels;
mod live;
mod matching;
mod optimize;
mod output;
mod pattern;
#[cfg(feature = "report")]
mod pictures;
mod pipeline;
mod progress;
mod query;
mod repl;
mod replay;
#[cfg(feature = "report")]
mod report;
mod resample;
mod run;
mod scan;
mod serve;
mod skipped;
mod statement;
mod strategy;
mod strategy_args;
mod sweep;
mod synth;
mod tables;
#[cfg(feature = "score")]
mod train;
mod vacuum;
mod validate;
mod wording;

use crate::Error;
use args::Args;
use clap::FromArgMatches;
use commands::{Command, Context, Run};
use output::note;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
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
    /// Some of it failed, which was reported; the rest is done.
    Partial,
    /// It was interrupted, and what was complete is done.
    Interrupted,
    /// Standard output was closed, as by `| head`: not worth a word.
    ClosedPipe,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            Error::Request(said) => Failure::Usage(said),
            // Arguments are called as the options that give them.
            Error::Argument(name, said) => Failure::Usage(format!("the option `{name}`{said}")),
            error => Failure::Error(error),
        }
    }
}

/// What a command that was stopped may take to put away what it had begun.
const LINGER: Duration = Duration::from_secs(1);
/// Stack of the thread that a command runs on, as that of the threads that plan. Only what is used takes memory.
const STACK: usize = 32 << 20;

/// How a command ended; `None`: it was stopped.
type Ended = Option<Result<(), Failure>>;

/// What is wrong with a value that was typed.
fn usage(error: Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Runs the command that the process was started with. `give_back_soon` is called where its memory is limited by the user.
pub fn main(give_back_soon: fn()) -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match help::asked(&words, std::io::IsTerminal::is_terminal(&std::io::stdout())) {
        Some(Ok(topic)) => return print(&topic),
        Some(Err(unknown)) => return say(&format!("error: {unknown}"), USAGE),
        None => {}
    }
    let args = match parse() {
        Ok(args) => args,
        Err(wrong) if wrong.use_stderr() => {
            let styled = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let said = wrong.render();
            let said = if styled { said.ansi().to_string() } else { said.to_string() };
            return say(said.trim_end(), USAGE);
        }
        Err(help) => help.exit(),
    };
    start_logging(&args);
    match runtime().and_then(|signals| signals.block_on(attended(args, give_back_soon))) {
        Ok(Some(Ok(())) | Some(Err(Failure::ClosedPipe))) => ExitCode::SUCCESS,
        Ok(Some(Err(Failure::Error(error)))) => say(&format!("error: {error}"), error.code().exit_status()),
        Ok(Some(Err(Failure::Partial))) => ExitCode::from(PARTIAL),
        Ok(Some(Err(Failure::Interrupted))) => ExitCode::from(INTERRUPTED),
        Ok(Some(Err(Failure::Usage(message)))) => say(&format!("error: {message}"), USAGE),
        Ok(None) => say("interrupted", INTERRUPTED),
        Err(error) => say(&format!("error: {error}"), 1),
    }
}

/// Reads the command line.
fn parse() -> Result<Args, clap::Error> {
    let mut command = help::command();
    let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Args::from_arg_matches_mut(&mut matches).map_err(|wrong| wrong.format(&mut command))
}

/// Prints a text to standard output; a closed pipe ends it quietly.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs a command on a thread of its own, so that an interrupt is heard whatever the command is busy with.
async fn attended(args: Args, give_back_soon: fn()) -> std::io::Result<Ended> {
    let delivers = matches!(args.command, Some(Command::Scan(_) | Command::Live(_) | Command::Serve(_)));
    let is_service = matches!(args.command, Some(Command::Live(_) | Command::Serve(_)));
    let mut interrupt = std::pin::pin!(interrupted(is_service));
    // From here on the process hears of interrupts, and is not ended by them.
    if std::future::poll_fn(|cx| Poll::Ready(interrupt.as_mut().poll(cx).is_ready())).await {
        return Ok(None);
    }
    let (cancel, stop) = (CancellationToken::new(), CancellationToken::new());
    let mut done = begin(args, give_back_soon, cancel.clone(), stop.clone())?;
    let broken = |_| std::io::Error::other("the command broke off");
    tokio::select! {
        outcome = &mut done => return outcome.map_err(broken)?,
        () = interrupt => cancel.cancel(),
    }
    if delivers {
        // A second interrupt does not wait for what is complete.
        tokio::select! {
            outcome = &mut done => return outcome.map_err(broken)?,
            () = interrupted(is_service) => {}
        }
    }
    stop.cancel();
    // Work that was stopped may still hold a thread; the process does not wait for it.
    let _ = tokio::time::timeout(LINGER, done).await;
    Ok(None)
}

/// Completes at an interrupt, and of a service at what service managers send.
async fn interrupted(is_service: bool) {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    #[cfg(unix)]
    if is_service && let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            () = interrupt => {}
            _ = term.recv() => {}
        }
        return;
    }
    interrupt.await
}

/// Begins with a command, which ends early once it is stopped and not busy.
fn begin(
    args: Args,
    give_back_soon: fn(),
    cancel: CancellationToken,
    stop: CancellationToken,
) -> std::io::Result<oneshot::Receiver<std::io::Result<Ended>>> {
    let (tell, done) = oneshot::channel();
    let work = move || {
        let outcome = runtime().map(|runtime| {
            let outcome = runtime.block_on(async {
                tokio::select! {
                    outcome = dispatch(args, cancel, give_back_soon) => Some(outcome),
                    () = stop.cancelled() => None,
                }
            });
            runtime.shutdown_background();
            outcome
        });
        // Nobody waits for it where it was stopped and took too long.
        let _ = tell.send(outcome);
    };
    std::thread::Builder::new().name("tallow".to_string()).stack_size(STACK).spawn(work)?;
    Ok(done)
}

fn say(message: &str, status: u8) -> ExitCode {
    note(format_args!("{message}"));
    ExitCode::from(status)
}

async fn dispatch(args: Args, cancel: CancellationToken, give_back_soon: fn()) -> Result<(), Failure> {
    let config = config::Config::load(&args.global)?;
    if config.limits_memory() {
        give_back_soon();
    }
    let cx = Context { config, cancel };
    match args.command {
        None => repl::run(&cx.config).await,
        Some(command) => command.run(&cx).await,
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let builder = builder.with_writer(wording::stderr);
    let builder = builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if args.global.log_format == args::LogFormat::Json {
        builder.json().init();
    } else {
        builder.without_time().with_level(args.global.verbose > 0).init();
    }
}
