//! `tallow query`.

use super::args::{OutputArgs, RangeArgs};
use super::commands::{Context, Run};
use super::{Failure, given, statement};
use crate::Error;
use crate::pipeline::query::Query;
use clap::Args as ClapArgs;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use tallow_serve::LiveClient;

#[derive(Debug, ClapArgs)]
pub(super) struct QueryArgs {
    /// The SQL text; several statements run in order
    #[arg(conflicts_with_all = ["command", "file"])]
    pub sql: Option<String>,
    /// The SQL text too
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// A file with SQL
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A value for `:name`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Read what the live run that listens at this address has computed, too: it writes what is not in the lake first
    #[arg(long, value_name = "ADDRESS")]
    pub live: Option<String>,
    #[command(flatten)]
    pub range: RangeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Run for QueryArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let text = match (self.sql.or(self.command), &self.file) {
            (Some(text), _) => text,
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|e| Error::File(path.display().to_string(), e))?
            }
            (None, None) if std::io::stdin().is_terminal() => {
                return Err(Failure::Usage(
                    "nothing to run: give SQL, a file with -f, or start `tallow` alone".to_string(),
                ));
            }
            (None, None) => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|e| Error::File("standard input".to_string(), e))?;
                text
            }
        };
        if let Some(address) = &self.live {
            LiveClient::at(address)?.flush().await?;
        }
        let session = cx.config.session().await?;
        let query = Query { params: given::params(&self.param)?, ..Query::of(text) };
        statement::run_in_range(&session, &cx.config, query, &self.range, &self.output).await
    }
}
