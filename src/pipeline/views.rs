//! Table functions over the lake, each a query: `candles('4h')`, `adjusted('1d', 'actions.csv')`, `label_path('4h')`.

use super::label_path::{self, PathOptions};
use super::levels::{self, Detection, Source};
use super::named::NamedQueries;
use super::quoting;
use super::relation::{opened_despite_files, table_named, timeframe_of};
use super::resample::Wanted;
use super::score::Models;
use super::search::plan::Output;
use super::search::{self, Pattern, SearchOptions};
use super::{adjust, patterns, resample};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_engine::dialect::{self, Base, OtherBars, Params, TableArguments, TableFunctions};
use tallow_lake::{CandleTable, Lake, READABLE};
use tallow_udfs::candle::Timeframe;
use tallow_udfs::similarity::random::Null;
use tallow_udfs::similarity::search::Windowing;

/// The table functions of a session.
pub(crate) struct Views {
    context: SessionContext,
    lake: Arc<Lake>,
    models: Arc<Models>,
    queries: Arc<NamedQueries>,
}

impl Views {
    /// `context` is the session whose tables those of the lake are.
    pub fn new(context: SessionContext, lake: Arc<Lake>, models: Arc<Models>, queries: Arc<NamedQueries>) -> Views {
        Views { context, lake, models, queries }
    }
}

impl Views {
    /// A search as a table of its own, which plans name and nobody sees listed.
    async fn search(&self, table: &str, reference: &str, named: &Named<'_>) -> Result<String> {
        let (options, pattern) = (named.search()?, patterns::of_text(&self.lake, reference).await?);
        let table = table_named(table);
        let searched = if named.flag("readable")? { format!("{table}{READABLE}") } else { table.clone() };
        let from = &opened_despite_files(&self.lake, &self.context, &searched).await?;
        let timeframe = &self.timeframe_for(&pattern, &table).await?;
        let bars = search::plan::Bars { from, timeframe };
        let plan = bars.search(&self.context.state(), &[pattern], &options, Output::Matches).await?;
        let name = format!("#dtw_search({table}, {reference}, {:?})", named.0.named);
        self.lake.keep_hidden(&name, Arc::new(ViewTable::new(plan, None)));
        Ok(format!("select * from {} as dtw_search", quoting::quoted(&name)))
    }

    /// What the bars of a table are called, where it matters in a search for a pattern.
    async fn timeframe_for(&self, pattern: &Pattern, table: &str) -> Result<String> {
        match &pattern.timeframe {
            Some(_) => timeframe_of(&self.lake, table).await,
            None => Ok(String::new()),
        }
    }

    /// What is allowed in a search and hardly meant.
    async fn search_warnings(&self, table: &str, reference: &str) -> Result<Vec<String>> {
        let pattern = patterns::of_text(&self.lake, reference).await?;
        let timeframe = self.timeframe_for(&pattern, &table_named(table)).await?;
        let other = search::plan::of_other_bars(&[pattern], &timeframe).into_iter();
        Ok(other.map(|(pattern, own)| search::plan::warning(&timeframe, &[(pattern, own)])).collect())
    }

    /// The symbols of one table that another has not.
    async fn missing(&self, of: &str, from: &str) -> Result<Vec<String>> {
        let (Some(own), Some(there)) = (self.lake.symbols(of).await?, self.lake.symbols(from).await?) else {
            return Ok(vec![]);
        };
        Ok(own.difference(&there).cloned().collect())
    }
}

/// The symbol that is meant by one that a table does not hold: of other case, with or without a sign in between, or one
/// letter off.
fn nearest_symbol(table: &CandleTable, symbol: &str) -> Option<String> {
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_uppercase();
    let wanted = plain(symbol);
    let same = table.listed_symbols().find(|known| plain(known) == wanted).map(str::to_string);
    // Symbols are mostly of capital letters, also those that the lists do not name.
    let capitals = || {
        let upper = symbol.to_uppercase();
        let may_hold = table.surely_without([upper.as_str()]).is_some_and(|missing| missing.is_empty());
        may_hold.then_some(upper)
    };
    same.or_else(capitals).or_else(|| dialect::within(1, symbol, table.listed_symbols()).map(str::to_string))
}

/// Names, calls and a sentence each, for people.
pub(super) fn described() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    USAGE.iter().map(|(name, usage, _)| {
        let doc = match *name {
            "query" => "A named query as a table",
            "candles" => {
                "Bars of a timeframe, made from shorter ones where they are not stored; `readable` leaves out files that \
                 cannot be read"
            }
            "adjusted" => "Bars adjusted for the splits and dividends of a file",
            "levels" => "Support and resistance levels of each symbol",
            "level_events" => "What happened to levels, and when",
            "level_states" => "Which levels were active from each event on",
            "label_path" => "The bars that labels walk",
            _ => {
                "The windows that are most like a pattern: pattern, symbol, start_ts, end_ts, bars, scale, distance and its \
                 parts, score, percentile; no two of them share a bar. `percentile` is the share of random windows that \
                 are farther away. The newest bars (`latest`) are compared of the fifth of all symbols that correlates best with \
                 the pattern, or of all (`exact`); `readable` leaves out files that cannot be read"
            }
        };
        (*name, *usage, doc)
    })
}

/// Names, and how each is called.
const USAGE: [(&str, &str, &[&str]); 8] = [
    ("query", "query('name of a query that comes with tallow', parameter => 'value')", &[]),
    (
        "candles",
        "candles('4h', fill => 'none' | 'prev_close' | 'null', from => '1h', origin => 'utc', readable => 'true')",
        &["fill", "from", "origin", "readable"],
    ),
    ("adjusted", "adjusted('1d', 'actions.csv')", &[]),
    ("levels", "levels('4h', k => 5, cluster => 0.25, max_age => 250)", &DETECTION),
    ("level_events", "level_events('4h', k => 5, cluster => 0.25, max_age => 250)", &DETECTION),
    (
        "level_states",
        "level_states('4h', levels => 'auto' | 'table', events => 'table', k => 5, cluster => 0.25, max_age => 250)",
        &["levels", "events", "k", "cluster", "max_age"],
    ),
    (
        "label_path",
        "label_path('4h', levels => 'auto' | 'table', events => 'table', refine => 'true', own_bars => 'true', k => 5, \
         cluster => 0.25, max_age => 250)",
        &["levels", "events", "refine", "own_bars", "k", "cluster", "max_age"],
    ),
    (
        "dtw_search",
        "dtw_search('candles_1d', 'a pattern' or [its closes], k => 10, mode => 'history' | 'latest', exact => 'true', channels => \
         'price' | 'price,averages', scales => '0.9,1,1.1', percentile => 0.99, null => 2000, self_matches => 'true', readable => \
         'true')",
        &SEARCH,
    ),
];
const SEARCH: [&str; 9] =
    ["k", "scales", "channels", "mode", "exact", "percentile", "null", "self_matches", "readable"];
const DETECTION: [&str; 3] = ["k", "cluster", "max_age"];
const NAMES: [&str; 8] =
    ["query", "candles", "adjusted", "levels", "level_events", "level_states", "label_path", "dtw_search"];

#[async_trait]
impl TableFunctions for Views {
    fn names(&self) -> &[&str] {
        &NAMES
    }

    async fn prepare(&self, statements: &[Statement]) -> Result<()> {
        self.models.load_called(&self.lake, statements).await
    }

    async fn bars(&self, table: &str) -> Option<(String, String)> {
        let (timeframe, origin) = self.lake.bars(table).await.ok().flatten()?;
        Some((timeframe.to_string(), origin))
    }

    fn unknown_symbols(
        &self,
        table: &dyn TableProvider,
        symbols: &BTreeSet<String>,
    ) -> Option<BTreeMap<String, Option<String>>> {
        let table = table.downcast_ref::<CandleTable>()?;
        let missing = table.surely_without(symbols.iter().map(String::as_str))?;
        Some(missing.into_iter().map(|symbol| (symbol.to_string(), nearest_symbol(table, symbol))).collect())
    }

    async fn other_bars(&self, base: &Base, timeframe: Timeframe) -> Result<OtherBars> {
        let (name, own, origin) = match base {
            Base::Lake(own) => {
                let own: Timeframe = own.parse()?;
                let (source, origin) = resample::stored_source(&self.lake, own).await?;
                (format!("candles_{source}"), own, origin)
            }
            Base::Table(name) => match self.lake.bars(name).await? {
                Some((own, origin)) => (name.clone(), own, origin),
                None => return Err(Error::invalid(format!("the length of the bars of `{name}` is not known"))),
            },
        };
        let (plain, suffix) = match name.strip_suffix(READABLE) {
            Some(plain) => (plain, READABLE),
            None => (name.as_str(), ""),
        };
        let is_file = !plain.starts_with("candles") || plain == "candles" && self.lake.options().candles.is_some();
        let columns = self.lake.columns(&name).await?;
        let own_bars = |among: &str| {
            let table = quoting::quoted(&name);
            let table = if among.is_empty() { table } else { format!("(select * from {table} where {among})") };
            let volume = columns.iter().any(|c| c == "volume");
            if own == timeframe {
                let volume = if volume { "volume" } else { "cast(null as double) as volume" };
                return Ok(format!("select symbol, ts, open, high, low, close, {volume} from {table}"));
            }
            if !own.divides(timeframe) {
                let said = format!("{own} bars of `{plain}` do not make up {timeframe} bars");
                return Err(Error::invalid(said));
            }
            Ok(resample::made_from(&table, volume, own, &origin, timeframe, &origin))
        };
        let beside = |sql: String, other: &str| OtherBars {
            own: (own.to_string(), origin.clone()),
            sql,
            origin: other.to_string(),
        };
        if is_file {
            return Ok(beside(own_bars("")?, &origin));
        }
        let (source, source_origin) = resample::stored_source(&self.lake, timeframe).await?;
        let table = format!("candles_{source}{suffix}");
        let quoted = quoting::quoted(&table);
        let stored = match source == timeframe {
            true => format!("select symbol, ts, open, high, low, close, volume from {quoted}"),
            false => resample::made_from(&quoted, true, source, &source_origin, timeframe, &source_origin),
        };
        if own == source || !own.divides(timeframe) || origin != source_origin {
            return Ok(beside(stored, &source_origin));
        }
        // Symbols that are not stored in that timeframe, as far as their own bars make it up. They are named: a join would go
        // through all pairs of bars of a symbol.
        let missing = self.missing(&name, &table).await?;
        if missing.is_empty() {
            return Ok(beside(stored, &source_origin));
        }
        let rest = own_bars(&format!("symbol in ({})", quoting::texts(&missing)))?;
        Ok(beside(format!("{stored} union all {rest}"), &source_origin))
    }

    async fn warnings(&self, name: &str, arguments: &TableArguments) -> Vec<String> {
        match (name, arguments.positional.as_slice()) {
            // What is wrong with it was said where it was planned.
            ("dtw_search", [table, reference]) => self.search_warnings(table, reference).await.unwrap_or_default(),
            _ => vec![],
        }
    }

    async fn sql(&self, name: &str, arguments: &TableArguments) -> Result<String> {
        let Some((_, usage, allowed)) = USAGE.iter().find(|(known, ..)| *known == name) else {
            return Err(Error::not_found(format!("unknown table function `{name}`")));
        };
        let wrong = |said: String| Error::invalid(format!("{said}: {usage}"));
        if let ("query", [query]) = (name, arguments.positional.as_slice()) {
            let query = self.queries.find(query)?;
            let mut given = Params::default();
            arguments.named.iter().for_each(|(name, value)| given.set(name, value));
            return dialect::bind(&query.sql, &query.complete(&given)?);
        }
        if let Some(other) = arguments.named.keys().find(|n| !allowed.contains(&n.as_str())) {
            return Err(wrong(format!("{name} has no argument `{other}`")));
        }
        let named = Named(arguments);
        match (name, arguments.positional.as_slice()) {
            ("adjusted", [table, actions]) => adjust::sql(&self.lake, table, actions).await,
            ("candles", [timeframe]) => {
                let timeframe: Timeframe = timeframe.parse()?;
                let wanted = Wanted {
                    from: named.get("from").map(str::parse).transpose()?,
                    origin: named.get("origin"),
                    fill: named.get("fill").unwrap_or("none").parse()?,
                    readable: named.flag("readable")?,
                    ..Wanted::of(timeframe)
                };
                Ok(resample::sql(&self.lake, wanted).await?.0)
            }
            ("levels", [timeframe]) => levels::levels(&self.lake, timeframe.parse()?, named.detection()?).await,
            ("level_events", [timeframe]) => levels::events(&self.lake, timeframe.parse()?, named.detection()?).await,
            ("level_states", [timeframe]) => {
                let source = named.levels()?.unwrap_or(Source::Auto(named.detection()?));
                levels::states(&self.lake, timeframe.parse()?, &source).await
            }
            ("label_path", [timeframe]) => {
                let options = PathOptions {
                    levels: named.levels()?,
                    refine: named.flag("refine")?,
                    own_bars: named.flag("own_bars")?,
                    width: None,
                };
                label_path::sql(&self.lake, timeframe.parse()?, &options).await
            }
            ("dtw_search", [table, reference]) => self.search(table, reference, &named).await,
            (_, given) => Err(wrong(format!("{name} does not take {} arguments", given.len()))),
        }
    }
}

/// Arguments by name.
struct Named<'a>(&'a TableArguments);

impl Named<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.named.get(name).map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T, expected: &str) -> Result<T> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::invalid(format!("{name} => '{text}': expected {expected}"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool> {
        self.number(name, false, "true or false")
    }

    fn detection(&self) -> Result<Detection> {
        let Detection { k, cluster, max_age } = Detection::default();
        let detection = Detection {
            k: self.number("k", k, "a whole number of bars")?,
            cluster: self.number("cluster", cluster, "a number of average true ranges")?,
            max_age: self.number("max_age", max_age, "a whole number of bars")?,
        };
        let bars = 1..=10_000;
        if !bars.contains(&detection.k)
            || !bars.contains(&detection.max_age)
            || !(0.0..=1e6).contains(&detection.cluster)
        {
            return Err(Error::invalid(format!(
                "levels with k {}, cluster {}, max_age {}: expected bars from 1 to 10000, and a cluster from 0 up",
                detection.k, detection.cluster, detection.max_age
            )));
        }
        Ok(detection)
    }

    fn search(&self) -> Result<SearchOptions> {
        let default = SearchOptions::default();
        let windowing = match self.get("mode") {
            None | Some("history") => Windowing::History,
            Some("latest") => Windowing::Latest,
            Some(other) => return Err(Error::invalid(format!("mode => '{other}': expected 'history' or 'latest'"))),
        };
        let k = self.number("k", default.k, "a whole number from 1 up")?;
        if !(1..=1_000_000).contains(&k) {
            return Err(Error::invalid(format!("k => {k}: expected a whole number from 1 to 1000000")));
        }
        let size = self.number("null", default.null.size, "a number of random windows")?;
        if size > 1_000_000 {
            return Err(Error::invalid(format!("null => {size}: expected a number of random windows up to 1000000")));
        }
        let share = |text: &str| {
            let wrong =
                || Error::invalid(format!("percentile => '{text}': expected a share from 0 to 1, such as 0.99"));
            text.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)
        };
        Ok(SearchOptions {
            windowing,
            exact: self.flag("exact")?,
            percentile: self.get("percentile").map(share).transpose()?,
            k,
            channels: self.get("channels").map(search::channels).transpose()?,
            adjust: search::Adjust::default(),
            scales: self.get("scales").map_or(Ok(default.scales), search::scales)?,
            null: Null { size, ..default.null },
            self_matches: self.flag("self_matches")?,
            thinned: false,
        })
    }

    fn levels(&self) -> Result<Option<Source>> {
        let events = self.get("events").map(str::to_string);
        Ok(match self.get("levels") {
            None | Some("none") => None,
            Some("auto") => Some(Source::Auto(self.detection()?)),
            Some(table) => Some(Source::Tables { levels: table.to_string(), events }),
        })
    }
}
