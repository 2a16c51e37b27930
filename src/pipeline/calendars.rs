//! Calendars of exchanges: those that tallow brings, and those that a lake keeps in its table `calendars`.

use crate::Session;
use crate::query::Query;
use crate::quoting::text;
use crate::relation::one;
use crate::rows::{column, texts};
use crate::system::{SESSIONS, SYSTEM};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, TimeDelta};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_udfs::calendar::{Calendar, Session as Trading};

/// The lake's table of calendars, a file that users keep: a row a session.
const TABLE: &str = "calendars";

/// Makes the calendars known that the lake keeps.
///
/// # Errors
/// The table lacks a column or a value, or its sessions overlap.
pub(crate) async fn register_kept(session: &Session) -> Result<()> {
    if !session.lake().table_names().iter().any(|name| name == TABLE) {
        return Ok(());
    }
    let wrong = |error: Error| {
        let hint = "its columns are calendar, date, open, close, the last two instants in UTC; a row for each session";
        Error::invalid(format!("the table `{TABLE}` of the lake: {error}")).with_hint(hint)
    };
    for (name, sessions) in kept(session).await.map_err(wrong)? {
        Calendar::register(&name, sessions).map_err(|error| wrong(error.into()))?;
    }
    Ok(())
}

async fn kept(session: &Session) -> Result<BTreeMap<String, Vec<Trading>>> {
    let sql = format!(
        "select cast(calendar as varchar) as calendar, cast(date as date) as date,
                arrow_cast(cast(open as timestamp), 'Timestamp(Microsecond, None)') as open,
                arrow_cast(cast(close as timestamp), 'Timestamp(Microsecond, None)') as close
         from {TABLE}"
    );
    let mut calendars: BTreeMap<String, Vec<Trading>> = BTreeMap::new();
    let mut row = 0;
    for batch in session.collect(one(session, &sql).await?).await? {
        let names = column(&batch, "calendar")?;
        let dates = column(&batch, "date")?.as_primitive::<Date32Type>();
        let instants = |name| Ok::<_, Error>(column(&batch, name)?.as_primitive::<TimestampMicrosecondType>());
        let (opens, closes) = (instants("open")?, instants("close")?);
        for (at, name) in texts(names)?.into_iter().enumerate() {
            row += 1;
            if [names as &dyn Array, dates, opens, closes].iter().any(|array| array.is_null(at)) {
                return Err(Error::invalid(format!("a value is missing in row {row}")));
            }
            let date = NaiveDate::default() + TimeDelta::days(dates.value(at).into());
            let trading = Trading { date, open: opens.value(at), close: closes.value(at), held: true };
            calendars.entry(name).or_default().push(trading);
        }
    }
    Ok(calendars)
}

/// The table of all sessions.
pub(crate) fn sessions_table() -> Result<Arc<dyn TableProvider>> {
    let (mut names, mut dates, mut opens, mut closes, mut held) = (vec![], vec![], vec![], vec![], vec![]);
    for calendar in all()? {
        for session in calendar.sessions() {
            names.push(calendar.name().to_string());
            dates.push(i32::try_from((session.date - NaiveDate::default()).num_days()).unwrap_or_default());
            opens.push(session.open);
            closes.push(session.close);
            held.push(session.held);
        }
    }
    let instants =
        |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef;
    let columns: [(&str, ArrayRef); 5] = [
        ("calendar", Arc::new(StringArray::from(names))),
        ("date", Arc::new(Date32Array::from(dates))),
        ("open", instants(opens)),
        ("close", instants(closes)),
        ("held", Arc::new(BooleanArray::from(held))),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// The query for the sessions of a calendar from one instant to before another.
///
/// # Errors
/// There is no such calendar.
pub fn sessions(name: &str, from: Option<i64>, to: Option<i64>) -> Result<Query> {
    let name = Calendar::named(name)?.name();
    let mut conditions = vec![format!("calendar = {}", text(name))];
    let date = |instant: i64| DateTime::from_timestamp_micros(instant).unwrap_or_default().date_naive();
    conditions.extend(from.map(|from| format!("date >= date '{}'", date(from))));
    conditions.extend(to.map(|to| format!("date < date '{}'", date(to))));
    Ok(Query::of(format!("select * from {SYSTEM}.{SESSIONS} where {} order by date", conditions.join(" and "))))
}

/// The calendars that there are.
///
/// # Errors
/// The rules of one are wrong.
pub fn all() -> Result<Vec<&'static Calendar>> {
    Calendar::names().iter().map(|name| Ok(Calendar::named(name)?)).collect()
}
