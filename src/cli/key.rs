//! `tallow key`.

use super::Failure;
use super::args::values::parsed;
use super::commands::{Context, Run};
use super::output::{note, out};
use crate::Error;
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;
use tallow_common::time::{instant, shown};
use tallow_engine::resources::parse_bytes;
use tallow_serve::{KeyLimits, Keys, NewKey, Role};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key, and print it: it is kept nowhere
    Add(AddArgs),
    /// List the keys: names, roles, and when they end
    List(FileArgs),
    /// Let nobody in any more who has a key
    Revoke(RevokeArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct FileArgs {
    /// The file of keys [default: ./tallow-keys.json; env: TALLOW_SERVE_KEYS]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct AddArgs {
    /// What the key is called
    pub name: String,
    /// What it allows: read, run for what takes long too, write for handing candles in too
    #[arg(long, default_value = "read", value_parser = parsed::<Role>)]
    pub role: Role,
    /// When it ends, such as 2027-01-31 [default: never]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub until: Option<i64>,
    /// Requests a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: Option<u32>,
    /// Queries at the same time
    #[arg(long, value_name = "N")]
    pub queries: Option<usize>,
    /// Memory of one query
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub query_memory: Option<usize>,
    #[command(flatten)]
    pub file: FileArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RevokeArgs {
    /// What the key is called
    pub name: String,
    #[command(flatten)]
    pub file: FileArgs,
}

impl FileArgs {
    fn path(&self, cx: &Context) -> PathBuf {
        let known = cx.config.serve.keys.or(self.keys.clone().map(Some));
        known.unwrap_or_else(|| PathBuf::from("tallow-keys.json"))
    }
}

impl Run for KeyCommand {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        match self {
            KeyCommand::Add(AddArgs { name, role, until, requests, queries, query_memory, file }) => {
                if queries == Some(0) {
                    return Err(Error::invalid("`queries` is 0: expected at least 1").into());
                }
                let limits = KeyLimits { requests, queries, memory: query_memory };
                let path = file.path(cx);
                let key = Keys::add(&path, NewKey { name, role, until, limits })?;
                note(format_args!("{} has a hash of the key; the key itself is shown once:", path.display()));
                out!("{key}");
            }
            KeyCommand::List(file) => {
                let end = |until: Option<i64>| until.map_or("-".to_string(), |until| shown(until).to_string());
                for key in Keys::list(&file.path(cx))? {
                    out!("{:<24} {:<6} {:<20} {}", key.name, key.role, shown(key.since), end(key.until));
                }
            }
            KeyCommand::Revoke(RevokeArgs { name, file }) => Keys::revoke(&file.path(cx), &name)?,
        }
        Ok(())
    }
}
