//! `candles('4h')`.

use super::{Call, Named, TableFunction};
use crate::resample::{self, BarRequest};
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::Result;

pub(super) struct Candles;

#[async_trait]
impl TableFunction for Candles {
    fn name(&self) -> &'static str {
        "candles"
    }

    fn usage(&self) -> &'static str {
        "candles('4h', fill => 'none' | 'prev_close' | 'null', from => '1h', origin => 'utc', readable => 'true', \
         unfinished => 'keep' | 'mark' | 'drop')"
    }

    fn doc(&self) -> &'static str {
        "Bars of a timeframe, made from shorter ones where they are not stored; `readable` leaves out files that cannot be read, \
         `unfinished` the newest bar of a symbol where the shorter ones do not reach its end"
    }

    fn named(&self) -> Named {
        Named::Only(&["fill", "from", "origin", "readable", "unfinished"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [timeframe] = call.positional() else { return Ok(None) };
        let request = BarRequest {
            from: call.get("from").map(str::parse).transpose()?,
            origin: call.get("origin"),
            fill: call.get("fill").unwrap_or("none").parse()?,
            readable: call.flag("readable")?,
            unfinished: call.get("unfinished").unwrap_or("keep").parse()?,
            ..BarRequest::of(timeframe.parse()?)
        };
        Ok(Some(resample::sql(&on.lake, request).await?.0))
    }
}
