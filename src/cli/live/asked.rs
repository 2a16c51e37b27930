//! `tallow live status`, `dead-letters` and `baseline`: what is asked of a run that goes on, or of what one has left.

use super::UNNAMED;
use super::seen::lines;
use crate::Error;
use crate::cli::Failure;
use crate::cli::commands::{Context, Run};
use crate::cli::output::{note, out};
use crate::live::{drop_stored, retry_stored, save_baseline, stored_letters};
use clap::{Args as ClapArgs, Subcommand};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tallow_serve::LiveClient;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LiveCommand {
    /// Show how a run is doing
    Status(StatusArgs),
    /// Candles that could not be computed: list them, try them again, forget them
    #[command(subcommand)]
    DeadLetters(LettersCommand),
    /// Keep how fast a run is now, so that it tells when it gets slower
    #[command(subcommand)]
    Baseline(BaselineCommand),
}

/// Which run.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Which {
    /// Name of the run
    #[arg(long, default_value = UNNAMED)]
    pub name: String,
    /// Folder of the journal [default: ./tallow-live; env: TALLOW_LIVE_JOURNAL]
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Where the run listens [default: as its folder says]
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct StatusArgs {
    #[command(flatten)]
    pub run: Which,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LettersCommand {
    /// List them, as lines of JSON
    List(LettersArgs),
    /// Try them again: now, or when the next run of the name begins
    Retry(LettersArgs),
    /// Forget them
    Drop(LettersArgs),
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct LettersArgs {
    #[command(flatten)]
    pub run: Which,
    /// Those of this symbol only
    #[arg(long)]
    pub symbol: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BaselineCommand {
    /// Keep the latencies of the last minute
    Save(Which),
}

impl Which {
    fn folder(&self, cx: &Context) -> PathBuf {
        cx.config.live.journal.or(self.journal.clone()).join(&self.name)
    }

    /// The run, if it goes on and listens.
    async fn client(&self, cx: &Context) -> Result<Option<LiveClient>, Error> {
        if let Some(address) = &self.at {
            return LiveClient::at(address).map(Some);
        }
        let Some(address) = Address::of(&self.folder(cx))? else { return Ok(None) };
        let client = LiveClient::at(&address)?;
        // One that was killed has left its address.
        Ok(client.status().await.is_ok().then_some(client))
    }

    async fn running(&self, cx: &Context) -> Result<LiveClient, Error> {
        self.client(cx).await?.ok_or_else(|| {
            Error::not_found(format!(
                "no live run '{}' that listens keeps its journal in {}",
                self.name,
                self.folder(cx).display()
            ))
            .with_hint("start it with the option `listen`, or name it with the options `name` and `journal`")
        })
    }
}

impl Run for LiveCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            LiveCommand::Status(StatusArgs { run, json }) => {
                let status = run.running(cx).await?.status().await?;
                let text = match json {
                    true => serde_json::to_string_pretty(&status).map_err(|e| Error::invalid(e.to_string()))?,
                    false => lines(&status).join("\n"),
                };
                out!("{text}");
            }
            LiveCommand::Baseline(BaselineCommand::Save(run)) => {
                let status = run.running(cx).await?.status().await?;
                let kept = save_baseline(&run.folder(cx), &status)?;
                note(format_args!("kept: mean {:.3} ms, 99 of 100 within {:.3} ms", kept.mean, kept.p99));
            }
            LiveCommand::DeadLetters(command) => command.run(cx).await?,
        }
        Ok(())
    }
}

impl LettersCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let (LettersCommand::List(args) | LettersCommand::Retry(args) | LettersCommand::Drop(args)) = &self;
        let (client, folder, symbol) = (args.run.client(cx).await?, args.run.folder(cx), args.symbol.as_deref());
        match (&self, client) {
            (LettersCommand::List(_), client) => {
                let letters = match client {
                    Some(client) => client.dead_letters().await?,
                    None => stored_letters(&folder)?,
                };
                for letter in letters.iter().filter(|letter| symbol.is_none_or(|symbol| letter.symbol == symbol)) {
                    let line = serde_json::to_string(letter).map_err(|e| Error::invalid(e.to_string()))?;
                    out!("{line}");
                }
            }
            (LettersCommand::Retry(_), Some(client)) => {
                note(format_args!("{} are tried again", client.retry(symbol).await?));
            }
            (LettersCommand::Retry(_), None) => {
                note(format_args!("{} are tried again by the next run", retry_stored(&folder, symbol)?));
            }
            (LettersCommand::Drop(_), Some(client)) => {
                note(format_args!("{} are forgotten", client.drop_letters(symbol).await?));
            }
            (LettersCommand::Drop(_), None) => note(format_args!("{} are forgotten", drop_stored(&folder, symbol)?)),
        }
        Ok(())
    }
}

/// Where a run listens, kept in its folder for as long as it does.
pub(super) struct Address(PathBuf);

impl Address {
    pub fn keep(folder: &Path, address: SocketAddr) -> Result<Address, Error> {
        let path = folder.join("address");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, address.to_string()));
        written.map_err(|error| Error::File(path.display().to_string(), error))?;
        Ok(Address(path))
    }

    fn of(folder: &Path) -> Result<Option<String>, Error> {
        let path = folder.join("address");
        match std::fs::read_to_string(&path) {
            Ok(address) => Ok(Some(address)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::File(path.display().to_string(), error)),
        }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
