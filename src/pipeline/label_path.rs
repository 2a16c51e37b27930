//! The bars that labels walk along, as SQL.

use super::levels::{self, Source};
use super::resample::{self, BarRequest};
use tallow_common::Result;
use tallow_lake::Lake;
use tallow_udfs::calendar::{Grid, Origin, Timeframe};

/// What a path is to carry besides prices.
#[derive(Debug, Clone, Default)]
pub struct PathOptions {
    /// Active levels at each labelled bar.
    pub levels: Option<Source>,
    /// The next finer bars inside each bar, for ties.
    pub refine: bool,
    /// Walk the labelled bars themselves.
    pub own_bars: bool,
    /// Another width of barriers than ATR(14), as SQL over the labelled bars.
    pub width: Option<String>,
    /// The decile of the return over so many labelled bars, as `quantile`.
    pub quantile: Option<u32>,
}

/// SQL for the path of a timeframe's labels: `symbol, ts, close_time, open, high, low, close, label_ts, label_end, price, unit,
/// width, range, path_timeframe`, and `levels`, `quantile` and `smaller` if they are asked for.
///
/// The rows are the bars of the coarsest stored timeframe that fits at least three times into the labelled bar, and the
/// labelled bars themselves where there are none of those. Each carries time, close, ATR(14), range and levels of the
/// labelled bar that it lies in; of the levels only those within 3 ATR and the nearest on each side.
///
/// A labelled bar of which the smaller bars cover only a part is walked along that part: what it did in the rest is not
/// seen.
pub async fn sql(lake: &Lake, timeframe: Timeframe, options: &PathOptions) -> Result<String> {
    let (bars, origin) = resample::sql(lake, BarRequest::of(timeframe)).await?;
    let known = lake.timeframes();
    let mut finer = vec![];
    // Others are not looked at: a file of them that cannot be read is no reason not to label.
    for candidate in known.iter().copied().filter(|candidate| candidate.divides(timeframe)) {
        let own = lake.origin(candidate).await?.unwrap_or_else(|| "utc".to_string());
        if fits(candidate, own.parse()?, timeframe, origin.parse()?) {
            finer.push((candidate, own));
        }
    }
    finer.sort();
    let walked = finer.pop().filter(|_| !options.own_bars);
    let end = |ts: &str, t: Timeframe, o: &str| format!("bar_end({ts}, '{t}', '{o}')");
    // Incomplete bars have no labels, and are none of those that a return is ranked among.
    let quantile = options.quantile.map_or_else(String::new, |horizon| {
        format!(
            ", return_quantile(case when high is not null and low is not null then close end, horizon => {horizon}) as quantile"
        )
    });
    let labelled = format!(
        "select symbol, ts, {} as close_time, open, high, low, close, atr(high, low, close, 14) as unit,
                {} as width{quantile} from ({bars})",
        end("ts", timeframe, &origin),
        options.width.as_deref().unwrap_or("atr(high, low, close, 14)")
    );
    let labelled = match &options.levels {
        None => labelled,
        Some(source) => {
            let states = levels::states(lake, timeframe, source).await?;
            format!(
                "select b.symbol as symbol, b.ts as ts, b.close_time as close_time, b.open as open, b.high as high,
                        b.low as low, b.close as close, b.unit as unit, b.width as width{ranked}, levels_near(s.levels, b.close, 3 * b.unit) as levels
                 from ({labelled}) b asof join ({states}) s match_condition (b.close_time >= s.ts) on b.symbol = s.symbol",
                ranked = options.quantile.map_or("", |_| ", b.quantile as quantile"),
            )
        }
    };
    let extra = |prefix: &str| {
        let names = [("levels", options.levels.is_some()), ("quantile", options.quantile.is_some())];
        let asked = names.into_iter().filter(|(_, asked)| *asked);
        asked.map(|(name, _)| format!(", {prefix}{name} as {name}")).collect::<String>()
    };
    // The smaller bars inside the bars that are walked.
    let smaller = |of: Timeframe, of_origin: &str, finest: Option<&(Timeframe, String)>| match finest {
        Some((f, _)) if options.refine => format!(
            "select symbol, bar_floor(ts, '{of}', '{of_origin}') as ts,
                    bar_list(ts, high, low) as smaller
             from candles_{f} group by symbol, bar_floor(ts, '{of}', '{of_origin}')"
        ),
        _ => String::new(),
    };
    let with_smaller = |rows: String, smaller: String| match smaller.is_empty() {
        true => rows,
        false => format!(
            "select p.*, m.smaller as smaller from ({rows}) p
             left join ({smaller}) m on p.symbol = m.symbol and p.ts = m.ts"
        ),
    };
    let none = if options.refine { ", null as smaller" } else { "" };
    let own = format!(
        "select symbol, ts, close_time, open, high, low, close, ts as label_ts, close_time as label_end, close as price, unit, width,
                high - low as range{}, '{timeframe}' as path_timeframe from ({labelled})",
        extra("")
    );
    let Some((fine, fine_origin)) = walked else {
        let next = finer.last();
        let smaller = smaller(timeframe, &origin, next);
        let none = if smaller.is_empty() { none } else { "" };
        return Ok(with_smaller(format!("select *{none} from ({own})"), smaller));
    };
    // Finer than what is walked, and nested in it.
    let walk: Origin = fine_origin.parse()?;
    let mut finest = None;
    for (candidate, its) in &finer {
        if candidate.divides(fine) && nests(*candidate, its.parse()?, fine, walk) {
            finest = Some((*candidate, its.clone()));
        }
    }
    // A fine bar lies inside the labelled bar that began last, unless that has ended.
    let fine_rows = format!(
        "select f.symbol as symbol, f.ts as ts, {fine_end} as close_time, f.open as open, f.high as high, f.low as low,
                f.close as close, case when f.ts < b.close_time then b.ts end as label_ts, b.close_time as label_end,
                b.close as price, b.unit as unit, b.width as width, b.high - b.low as range{levels}, '{fine}' as path_timeframe
         from candles_{fine} f asof join ({labelled}) b match_condition (f.ts >= b.ts) on f.symbol = b.symbol",
        fine_end = end("f.ts", fine, &fine_origin),
        levels = extra("b."),
    );
    let smaller = smaller(fine, &fine_origin, finest.as_ref());
    let none_here = if smaller.is_empty() { none } else { "" };
    let fine_rows = with_smaller(format!("select *{none_here} from ({fine_rows})"), smaller);
    // Labelled bars without a fine bar inside stand for themselves.
    let alone = format!(
        "select o.*{none} from ({own}) o asof join (select symbol, ts from candles_{fine}) f
           match_condition (o.ts <= f.ts) on o.symbol = f.symbol
         where f.ts is null or f.ts >= o.close_time"
    );
    Ok(format!("{fine_rows} union all {alone}"))
}

/// Whether bars of a timeframe can be the path of another's labels.
fn fits(fine: Timeframe, fine_origin: Origin, coarse: Timeframe, origin: Origin) -> bool {
    let times = match (fine.fixed_length(), coarse.fixed_length()) {
        (Some(fine), Some(coarse)) => coarse / fine,
        _ => 28,
    };
    fine.divides(coarse) && times >= 3 && nests(fine, fine_origin, coarse, origin)
}

/// Whether every coarse bar begins where a fine bar begins: tried on the days of twelve years, which hold every shift of
/// the clock.
pub(crate) fn nests(fine: Timeframe, fine_origin: Origin, coarse: Timeframe, origin: Origin) -> bool {
    const DAY: i64 = 86_400_000_000;
    const FIRST: i64 = 15_000;
    let days: Vec<i64> = (FIRST..FIRST + 12 * 365).flat_map(|day| [day * DAY, day * DAY + DAY / 2]).collect();
    let starts = Grid::new(coarse, origin).floor(&days);
    Grid::new(fine, fine_origin).is_aligned(&starts).into_iter().all(|aligned| aligned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(fine: &str, fine_origin: &str, coarse: &str, origin: &str) -> bool {
        let [fine, coarse] = [fine, coarse].map(|t| t.parse::<Timeframe>().unwrap());
        fits(fine, fine_origin.parse().unwrap(), coarse, origin.parse().unwrap())
    }

    #[test]
    fn a_path_divides_the_bar_three_times_and_nests_in_it() {
        assert!(fit("1h", "utc", "4h", "utc"));
        assert!(fit("1h", "utc", "4h", "forex_utc1"));
        assert!(!fit("4h", "utc", "4h", "utc") && !fit("2h", "utc", "4h", "utc"));
        assert!(!fit("4h", "utc", "1d", "ny_17"), "a 4h bar straddles 17:00 in New York");
        assert!(fit("1h", "utc", "1d", "ny_17") && fit("4h", "ny_17", "1d", "ny_17"));
        assert!(fit("1d", "utc", "1mo", "utc") && !fit("1w", "utc", "1mo", "utc"));
    }
}
