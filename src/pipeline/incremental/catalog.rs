//! The pipelines that a lake keeps.

use super::definition::Definition;
use super::pipeline::Pipeline;
use crate::Session;
use crate::versioned::is_name;
use datafusion::catalog::SchemaProvider;
use std::collections::{BTreeMap, BTreeSet};
use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;
use tallow_lake::StoredPipeline;

/// Keeps a pipeline in the lake; whether it was not there before. `now` is the time, in microseconds since the epoch.
///
/// # Errors
/// Its name is that of another pipeline, or its table is another one's; it depends on itself; or what it computes is wrong.
pub async fn add(session: &Session, pipeline: &Pipeline, now: i64) -> Result<bool> {
    if !is_name(&pipeline.name) {
        let said =
            format!("'{}' is no name of a pipeline: expected a letter, then letters, digits and _", pipeline.name);
        return Err(Error::invalid(said));
    }
    let (table, others) = (pipeline.table()?, all(session).await?);
    if let Some(known) = others.iter().find(|known| known.name == pipeline.name) {
        return match known == pipeline {
            true => Ok(false),
            false => Err(Error::conflict(format!(
                "there is a pipeline `{}` already, which computes something else: {}",
                known.name,
                known.definition.describe()
            ))
            .with_hint("remove it first, or give the new one another name")),
        };
    }
    for other in &others {
        if other.table()? == table {
            return Err(Error::conflict(format!("`{table}` is the table of pipeline `{}`", other.name)));
        }
    }
    let of_others = others.iter().map(Pipeline::table).collect::<Result<BTreeSet<_>>>()?;
    let mut every = others.clone();
    every.push(pipeline.clone());
    in_order(session, every).await?;
    // What reads a table that another pipeline has yet to make cannot be planned before.
    let words = pipeline.words(session).await?;
    let there = session.lake().table_names();
    let waits = words.iter().any(|read| of_others.contains(read) && !there.contains(read));
    if !waits {
        pipeline.check(session).await?;
    }
    let stored = stored(pipeline, now)?;
    let name = stored.name.clone();
    let added = session
        .on_lake(move |lake| async move {
            lake.change_records("PIPELINE", move |all: &mut Vec<StoredPipeline>| {
                let is_new = !all.iter().any(|known| known.name == stored.name);
                if is_new {
                    all.push(stored.clone());
                }
                Ok(is_new)
            })
            .await
        })
        .await?;
    match added {
        true => Ok(true),
        false => Err(Error::conflict(format!("pipeline `{name}` was added by somebody else at the same time"))),
    }
}

/// All pipelines of a lake, by name.
///
/// # Errors
/// One that this version of tallow does not know.
pub async fn all(session: &Session) -> Result<Vec<Pipeline>> {
    let mut stored = session.on_lake(|lake| async move { lake.records::<StoredPipeline>().await }).await?;
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    stored.into_iter().map(read).collect()
}

/// The pipeline with this name.
///
/// # Errors
/// There is none.
pub async fn find(session: &Session, name: &str) -> Result<Pipeline> {
    let all = all(session).await?;
    if let Some(found) = all.iter().find(|pipeline| pipeline.name == name) {
        return Ok(found.clone());
    }
    let hint = match closest(name, all.iter().map(|pipeline| pipeline.name.as_str())) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None if all.is_empty() => "the lake keeps none yet: the operation `pipeline add`".to_string(),
        None => "the operation `pipeline list` shows all".to_string(),
    };
    Err(Error::not_found(format!("unknown pipeline `{name}`")).with_hint(hint))
}

/// Forgets a pipeline; its table stays.
///
/// # Errors
/// There is none of this name.
pub async fn remove(session: &Session, name: &str) -> Result<Pipeline> {
    let found = find(session, name).await?;
    let name = name.to_string();
    session
        .on_lake(move |lake| async move {
            let forget = move |all: &mut Vec<StoredPipeline>| {
                all.retain(|known| known.name != name);
                Ok(())
            };
            lake.change_records("PIPELINE", forget).await
        })
        .await?;
    Ok(found)
}

/// Pipelines in an order in which each comes after those whose tables it reads.
///
/// # Errors
/// Some of them wait for one another.
pub async fn in_order(session: &Session, pipelines: Vec<Pipeline>) -> Result<Vec<Pipeline>> {
    let mut makers = BTreeMap::new();
    for pipeline in &pipelines {
        makers.insert(pipeline.table()?, pipeline.name.clone());
    }
    let mut waiting = vec![];
    for pipeline in pipelines {
        let words = pipeline.words(session).await?;
        let after: BTreeSet<String> = words.iter().filter_map(|table| makers.get(table).cloned()).collect();
        waiting.push((pipeline, after));
    }
    let mut ordered: Vec<Pipeline> = vec![];
    while !waiting.is_empty() {
        let is_done = |name: &String| ordered.iter().any(|done| done.name == *name);
        let Some(next) = waiting.iter().position(|(_, after)| after.iter().all(is_done)) else {
            let names: Vec<_> = waiting.iter().map(|(pipeline, _)| pipeline.name.as_str()).collect();
            let said = match names.as_slice() {
                [one] => format!("pipeline `{one}` reads the table that it makes"),
                many => format!("the pipelines {} read the tables that they make in a circle", many.join(", ")),
            };
            return Err(Error::invalid(said));
        };
        ordered.push(waiting.remove(next).0);
    }
    Ok(ordered)
}

fn stored(pipeline: &Pipeline, now: i64) -> Result<StoredPipeline> {
    let definition = serde_json::to_string(&pipeline.definition).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(StoredPipeline {
        name: pipeline.name.clone(),
        kind: pipeline.definition.kind().to_string(),
        definition,
        target: pipeline.into.clone(),
        created_at: now,
    })
}

/// A pipeline as it is kept.
pub(crate) fn read(stored: StoredPipeline) -> Result<Pipeline> {
    let StoredPipeline { name, definition, target: into, .. } = stored;
    let definition = serde_json::from_str::<Definition>(&definition).map_err(|error| {
        let said = format!("pipeline `{name}` is defined by something that this version does not know: {error}");
        Error::invalid(said)
    })?;
    Ok(Pipeline { name, definition, into })
}
