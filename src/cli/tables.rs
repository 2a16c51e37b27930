//! `tallow tables`.

use super::Failure;
use super::commands::{Context, Run};
use super::output::{date, note, out};
use crate::pipeline::describe;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct TablesArgs {}

impl Run for TablesArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        let names = describe::tables(&session)?;
        let width = names.iter().map(String::len).max().unwrap_or_default().max(14);
        out!("{:<width$} {:>9} {:>12}  {:<10}  {:<10}  {:>6}", "table", "symbols", "rows", "first", "last", "files");
        let mut broken = 0;
        for name in names {
            let summary = describe::summary(&session, &name).await.unwrap_or_else(|error| {
                broken += 1;
                note(format_args!("{name}: {error}"));
                None
            });
            let Some(s) = summary else {
                // Of what is not ordered by symbol and time, the log does not tell more.
                out!("{name:<width$} {:>9} {:>12}  {:<10}  {:<10}  {:>6}", "-", "-", "-", "-", "-");
                continue;
            };
            let symbols = s.symbols.map_or_else(|| "?".to_string(), |n| n.to_string());
            let (first, last) = s.times.map_or_else(|| ("?".to_string(), "?".to_string()), |(a, b)| (date(a), date(b)));
            out!("{name:<width$} {symbols:>9} {:>12}  {first:<10}  {last:<10}  {:>6}", s.rows, s.files);
        }
        if broken > 0 { Err(Failure::Partial) } else { Ok(()) }
    }
}
