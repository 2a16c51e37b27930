//! `tallow synth`.

use super::Failure;
use super::args::values::parsed;
use super::commands::{Context, Run};
use super::progress::Progress;
use crate::pipeline::synth::{Kind, Synth};
use clap::Args as ClapArgs;
use std::path::PathBuf;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct SynthArgs {
    /// A .parquet file, or a folder, which gets one file per symbol
    pub out: PathBuf,
    /// Number of symbols
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub symbols: u32,
    /// Bars of each symbol, from 2010 on
    #[arg(long, value_name = "N", default_value_t = 1250, value_parser = clap::value_parser!(u32).range(1..))]
    pub bars: u32,
    /// Length of the bars
    #[arg(long, short, value_name = "TF", default_value = "1d", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// The same seed makes the same candles
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// How prices move: walk, trend or range
    #[arg(long, default_value = "walk", value_parser = parsed::<Kind>)]
    pub kind: Kind,
    /// Of a thousand bars so many are missing
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub gaps: u32,
    /// Of a thousand bars so many stand behind others that follow them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub late: u32,
}

impl Run for SynthArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let timeframe = self.timeframe;
        let (symbols, bars, seed) = (self.symbols as usize, self.bars as usize, self.seed);
        let synth = Synth { symbols, bars, timeframe, seed, kind: self.kind, gaps: self.gaps, late: self.late };
        let progress = Progress::new(&cx.config, Some(self.symbols.into()), "symbols");
        let each = |done: usize| progress.set(done as u64);
        if self.out.extension().is_some_and(|e| e == "parquet") {
            synth.write_file(&self.out, each)?;
        } else {
            synth.write_folder(&self.out, each)?;
        }
        progress.finish(None, u64::from(self.symbols) * u64::from(self.bars), 0);
        Ok(())
    }
}
