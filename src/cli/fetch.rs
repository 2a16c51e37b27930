//! `tallow fetch`.

use super::args::values::{parsed, time};
use super::commands::{Context, Run};
use super::output::note;
use super::progress::followed;
use super::skipped::partial;
use super::{Failure, given, ingest};
use crate::pipeline::fetch::{Exchange, Fetch};
use clap::Args as ClapArgs;
use std::path::PathBuf;
use tallow_udfs::calendar::Timeframe;

#[derive(Debug, ClapArgs)]
pub(super) struct FetchArgs {
    /// binance, bybit, coinbase, kraken, okx, or a TOML file that describes another
    #[arg(value_name = "EXCHANGE|FILE")]
    pub exchange: String,
    /// Length of the bars
    #[arg(long, short, value_name = "TF", value_parser = parsed::<Timeframe>)]
    pub timeframe: Timeframe,
    /// Symbols as the exchange calls them, such as BTCUSDT or BTC-USD
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',', required_unless_present_any = ["all", "all_usdt_perpetuals"])]
    pub symbols: Vec<String>,
    /// All symbols of the market
    #[arg(long, conflicts_with = "symbols")]
    pub all: bool,
    /// All perpetuals in USDT: --market usdt-perpetual --all
    #[arg(long, conflicts_with_all = ["symbols", "all", "market"])]
    pub all_usdt_perpetuals: bool,
    /// Which market: spot, usdt-perpetual
    #[arg(long, value_name = "MARKET", default_value = "spot")]
    pub market: String,
    /// First day or instant [default: where the lake ends, or else the beginning]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<i64>,
    /// The first day or instant that is no longer wanted [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<i64>,
    /// How many of the newest bars that the lake has are fetched again
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub again: u32,
    /// Ask this address instead of the exchange's own, such as a proxy
    #[arg(long, value_name = "URL")]
    pub base: Option<String>,
}

impl Run for FetchArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let session = cx.config.session().await?;
        let times = given::times(self.from, self.to)?;
        let market = if self.all_usdt_perpetuals { "usdt-perpetual".to_string() } else { self.market };
        let fetch = Fetch {
            market,
            base: self.base,
            symbols: given::symbols(&self.symbols)?,
            from: times.from,
            to: times.to,
            again: self.again,
            cache: cache(),
            ..Fetch::of(Exchange::named(&self.exchange)?, self.timeframe)
        };
        let found = followed(cx, "symbols", async |control| fetch.run(&session, control).await).await?;
        if !cx.config.quiet {
            note(format_args!("{} symbols, {} requests", found.symbols, found.requests));
        }
        match &found.ingested {
            Some(summary) => ingest::show(summary, false, &[]).map_err(|_| Failure::ClosedPipe)?,
            None => note(format_args!("nothing new")),
        }
        if cx.cancel.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        partial(&found.skipped)
    }
}

/// Where lists of symbols are kept.
fn cache() -> Option<PathBuf> {
    let of_user = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let folder = of_user.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    folder.map(|folder| folder.join("tallow"))
}
