//! Tables with a change feed (`delta.enableChangeDataFeed`): their protocol, and how a commit to one is let through.
//!
//! The library refuses every commit to such a table unless it is built with DataFusion, since without it none of its own
//! writers write a feed. Those of this crate do: a commit that replaces or removes rows names files with the rows that it
//! changed. So the library is shown the table's protocol without this demand, and holds a commit to all others.

use delta_kernel::table_properties::TableProperties;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TableReference;
use deltalake_core::kernel::{EagerSnapshot, Metadata, Protocol};
use serde_json::{Value, json};

/// The property of tables with a change feed.
pub(super) const CHANGE_FEED: &str = "delta.enableChangeDataFeed";
/// The feature that such tables demand of writers, where a protocol lists features.
const FEATURE: &str = "changeDataFeed";
/// The version of the protocol that demands it of writers, together with generated columns.
const VERSION: u64 = 4;
/// The version before all demands that depend on what a table uses.
const BASE_VERSION: u64 = 2;
/// What the metadata of a table with generated columns, invariants or constraints holds.
const MARKS: [&str; 3] = ["delta.generationExpression", "delta.invariants", "delta.constraints."];

/// The protocol of a table once it has a change feed.
pub(super) fn with_change_feed(protocol: &Protocol) -> Result<Protocol, DeltaTableError> {
    let mut known = serde_json::to_value(protocol)?;
    let version = known["minWriterVersion"].as_u64().unwrap_or_default();
    match known.get_mut("writerFeatures") {
        Some(Value::Array(features)) if features.iter().all(|feature| feature != FEATURE) => {
            features.push(json!(FEATURE));
        }
        Some(Value::Array(_)) => {}
        _ => known["minWriterVersion"] = json!(version.max(VERSION)),
    }
    Ok(serde_json::from_value(known)?)
}

/// A version of a table, as the library checks whether it can be committed to.
pub(super) struct Checked<'a> {
    snapshot: &'a EagerSnapshot,
    protocol: Protocol,
}

impl<'a> Checked<'a> {
    pub fn new(snapshot: &'a EagerSnapshot) -> Result<Checked<'a>, DeltaTableError> {
        let protocol = without_change_feed(snapshot.protocol(), snapshot.metadata())?;
        Ok(Checked { snapshot, protocol })
    }
}

impl TableReference for Checked<'_> {
    fn config(&self) -> &TableProperties {
        self.snapshot.table_properties()
    }

    fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    fn metadata(&self) -> &Metadata {
        self.snapshot.metadata()
    }

    fn eager_snapshot(&self) -> &EagerSnapshot {
        self.snapshot
    }
}

/// What a protocol demands of writers besides a change feed.
fn without_change_feed(protocol: &Protocol, metadata: &Metadata) -> Result<Protocol, DeltaTableError> {
    let mut known = serde_json::to_value(protocol)?;
    if let Some(Value::Array(features)) = known.get_mut("writerFeatures") {
        features.retain(|feature| feature != FEATURE);
    } else if known["minWriterVersion"] == VERSION {
        let metadata = serde_json::to_string(metadata)?;
        if !MARKS.iter().any(|mark| metadata.contains(mark)) {
            known["minWriterVersion"] = json!(BASE_VERSION);
        }
    }
    Ok(serde_json::from_value(known)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalake_core::kernel::StructType;
    use std::collections::HashMap;

    fn protocol(text: Value) -> Protocol {
        serde_json::from_value(text).unwrap()
    }

    fn metadata(properties: &[(&str, &str)]) -> Metadata {
        let properties: HashMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let schema = StructType::try_new(vec![]).unwrap();
        deltalake_core::kernel::new_metadata(&schema, Vec::<String>::new(), properties).unwrap()
    }

    #[test]
    fn only_the_demand_for_a_change_feed_is_taken_away() {
        let plain = protocol(json!({"minReaderVersion": 1, "minWriterVersion": 2}));
        let feed = with_change_feed(&plain).unwrap();
        assert_eq!(feed, protocol(json!({"minReaderVersion": 1, "minWriterVersion": 4})));
        assert_eq!(without_change_feed(&feed, &metadata(&[(CHANGE_FEED, "true")])).unwrap(), plain);
        let constrained = metadata(&[("delta.constraints.positive", "close > 0")]);
        assert_eq!(without_change_feed(&feed, &constrained).unwrap(), feed);

        let features = |names: &[&str]| {
            protocol(json!({
                "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [], "writerFeatures": names
            }))
        };
        let both = with_change_feed(&features(&["appendOnly"])).unwrap();
        assert!(both.writer_features().is_some_and(|all| all.iter().any(|f| f.to_string() == FEATURE)));
        let left = without_change_feed(&both, &metadata(&[])).unwrap();
        assert!(left.writer_features().is_some_and(|all| all.iter().all(|f| f.to_string() != FEATURE)));
    }
}
