//! `tallow replay`.

use super::Failure;
use super::args::values::parsed;
use super::commands::{Context, Run};
use super::output::note;
use crate::Error;
use crate::live::{Disorder, Replay, Sent, Speed, load};
use clap::Args as ClapArgs;
use std::sync::Arc;
use tallow_common::time;

#[derive(Debug, ClapArgs)]
pub(super) struct ReplayArgs {
    /// The table, such as candles_1m
    pub table: String,
    /// Where a live run listens: tcp://HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub into: String,
    /// How much faster than the bars began: max, or a factor such as 1x or 100x
    #[arg(long, default_value = "max", value_parser = parsed::<Speed>)]
    pub speed: Speed,
    /// Bars from this time on
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Bars before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// So many of a thousand bars are sent twice
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub twice: u32,
    /// So many of a thousand are sent late, after up to a thousand others
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub late: u32,
    /// Decides which are sent twice and late
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
}

impl Run for ReplayArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let address = self.into.strip_prefix("tcp://").filter(|address| address.contains(':'));
        let address = address.ok_or_else(|| {
            Error::invalid(format!("bars cannot be sent to '{}': expected tcp://HOST:PORT", self.into))
        })?;
        let at = |text: &Option<String>| -> Result<Option<i64>, Error> {
            let read = |text: &String| {
                time::parse(text)
                    .ok_or_else(|| Error::invalid(format!("'{text}' is no time: expected one such as 2024-01-31")))
            };
            text.as_ref().map(read).transpose()
        };
        let (from, to) = (at(&self.from)?, at(&self.to)?);
        let replay = Replay { table: self.table, from, to, speed: self.speed };
        let disorder = Disorder { seed: self.seed, twice: self.twice, late: self.late };
        let session = Arc::new(cx.config.session().await?);
        let sent = tokio::select! {
            sent = load(&session, &replay, address, disorder) => sent?,
            () = cx.cancel.cancelled() => return Err(Failure::Interrupted),
        };
        let Sent { lines, twice, late, accepted, rejected, reason, took } = sent;
        let rate = lines as f64 / took.as_secs_f64().max(1e-9);
        note(format_args!(
            "sent       {lines} in {:.2} s, {rate:.0} a second; {twice} twice, {late} late",
            took.as_secs_f64()
        ));
        note(format_args!("accepted   {accepted}"));
        match reason {
            Some(reason) => note(format_args!("rejected   {rejected}, the first: {reason}")),
            None => note(format_args!("rejected   {rejected}")),
        }
        Ok(())
    }
}
