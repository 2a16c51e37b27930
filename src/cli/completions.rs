//! `tallow completions`.

use super::Failure;
use super::args::Args;
use super::commands::{Context, Run};
use clap::{Args as ClapArgs, CommandFactory};
use clap_complete::{Shell, generate};
use std::io::Write;

#[derive(Debug, ClapArgs)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Run for CompletionsArgs {
    async fn run(self, _: &Context) -> Result<(), Failure> {
        let mut script = vec![];
        generate(self.shell, &mut Args::command(), "tallow", &mut script);
        std::io::stdout().write_all(&script).map_err(|_| Failure::ClosedPipe)
    }
}
