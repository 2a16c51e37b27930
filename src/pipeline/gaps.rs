//! Missing bars, against the universe: no calendar is needed where most symbols trade at the same times.

/// SQL that lists the symbols of a candle table that miss bars, with their number, most first.
///
/// A time counts where more than half of the symbols that have begun and not yet ended have a bar. Work and memory grow
/// with the rows of the table, not with times by symbols.
pub fn sql(table: &str) -> String {
    let table = format!("\"{}\"", table.replace('"', "\"\""));
    format!(
        "with spans as (select symbol, min(ts) as first, max(ts) as last from {table} group by symbol),
         times as (select ts, count(*) as present from {table} group by ts),
         begins as (select first as ts, count(*) as n from spans group by first),
         ends as (select last as ts, count(*) as n from spans group by last),
         counts as (
           select t.ts, t.present, coalesce(b.n, 0) as begun, coalesce(e.n, 0) as ended
           from times t left join begins b on t.ts = b.ts left join ends e on t.ts = e.ts),
         running as (
           select ts, present, sum(begun) over (order by ts) - sum(ended) over (order by ts) + ended as trading from counts),
         marked as (select ts, case when 2 * present > trading then 1 else 0 end as counts from running),
         days as (select ts, counts, sum(counts) over (order by ts) as so_far from marked),
         held as (select c.symbol, sum(d.counts) as bars from {table} c join days d on c.ts = d.ts group by c.symbol)
         select s.symbol, l.so_far - f.so_far + f.counts - h.bars as missing
         from spans s join days f on s.first = f.ts join days l on s.last = l.ts join held h on s.symbol = h.symbol
         where l.so_far - f.so_far + f.counts > h.bars
         order by missing desc, symbol"
    )
}
