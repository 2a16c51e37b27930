//! `label_path('4h')`.

use super::{Call, Named, TableFunction};
use crate::label_path::{self, PathOptions};
use crate::views::Views;
use async_trait::async_trait;
use tallow_common::Result;

pub(super) struct LabelPath;

#[async_trait]
impl TableFunction for LabelPath {
    fn name(&self) -> &'static str {
        "label_path"
    }

    fn usage(&self) -> &'static str {
        "label_path('4h', levels => 'auto' | 'table', events => 'table', refine => 'true', own_bars => 'true', k => 5, \
         cluster => 0.25, max_age => 250)"
    }

    fn doc(&self) -> &'static str {
        "The bars that labels walk"
    }

    fn named(&self) -> Named {
        Named::Only(&["levels", "events", "refine", "own_bars", "k", "cluster", "max_age"])
    }

    async fn sql(&self, on: &Views, call: &Call<'_>) -> Result<Option<String>> {
        let [timeframe] = call.positional() else { return Ok(None) };
        let options = PathOptions {
            levels: call.levels()?,
            refine: call.flag("refine")?,
            own_bars: call.flag("own_bars")?,
            width: None,
            quantile: None,
        };
        Ok(Some(label_path::sql(&on.lake, timeframe.parse()?, &options).await?))
    }
}
