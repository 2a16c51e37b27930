//! How a table of candles is opened: its files found, their columns recognised, their order known or proven.

use super::CandleTable;
use super::epoch::sample_epoch;
use crate::as_of::AsOf;
use crate::columns::{Columns, has_close};
use crate::delta::{Log, Snapshot};
use crate::files::{Files, Format, Kind, symbol_of};
use crate::isolation;
use crate::profile::{Known, Profile, ProfileCache};
use crate::proof::Prover;
use crate::ranges::disjoint_order;
use crate::readable::{Unreadable, readable};
use crate::symbols::Symbols;
use crate::writer::profile_of;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::SessionState;
use object_store::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::time::{timestamp_type, unit};
use tallow_common::{ComputeThreads, Error};

impl CandleTable {
    /// Opens the table behind a path, glob, folder or URL. `Ok(None)`: no files, or none with a time and a close.
    pub async fn open(
        session: &Arc<SessionState>,
        location: &str,
        as_of: Option<&AsOf>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        if let Some((log, snapshot)) = logged(session, location, as_of).await? {
            return Self::of_snapshot(session, &log, &snapshot, cache).await;
        }
        let Some(files) = Files::list(session.as_ref(), location).await? else { return Ok(None) };
        files.check_not_empty()?;
        let Known { profiles: known, schema } = cache.load(&files.location, &files.files);
        let one_schema = |p: &Profile| p.schema != 0 && known.values().all(|q| q.schema == p.schema);
        let alike = known.len() == files.files.len() && known.values().next().is_some_and(one_schema);
        let file_schema = match schema.filter(|_| files.format.is_delimited()) {
            // Each of many files would have to be opened to find it out again.
            Some(schema) => schema,
            None => files.schema(session.as_ref(), alike).await?,
        };
        Self::new(session, files, file_schema, known, cache, true).await
    }

    /// As [`CandleTable::open`], without the files that cannot be read; each is read whole to find out.
    pub async fn open_readable(
        session: &Arc<SessionState>,
        location: &str,
        as_of: Option<&AsOf>,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        if let Some((log, mut snapshot)) = logged(session, location, as_of).await? {
            let (good, bad) = readable(session, &Files::of_log(&log, &snapshot)).await?;
            snapshot.files.retain(|f| good.iter().any(|meta| meta.location == f.meta.location));
            let table = Self::of_snapshot(session, &log, &snapshot, cache).await?;
            return Ok(table.map(|table| CandleTable { unreadable: bad, ..table }));
        }
        let Some(mut files) = Files::list(session.as_ref(), location).await? else { return Ok(None) };
        let (mut good, mut bad) = readable(session, &files).await?;
        let all = files.files.len();
        files.files = good.clone();
        for (file, reason) in files.odd(session.as_ref()).await?.into_iter().rev() {
            let meta = good.remove(file);
            bad.push(Unreadable { path: files.shown(&meta), symbol: symbol_of(meta.location.as_ref()), reason });
        }
        if good.is_empty() {
            return plan_err!("{location}: none of {all} files can be read");
        }
        files.files = good;
        let file_schema = files.schema(session.as_ref(), false).await?;
        let known = cache.load(&files.location, &files.files).profiles;
        let table = Self::new(session, files, file_schema, known, cache, true).await?;
        Ok(table.map(|table| CandleTable { unreadable: bad, ..table }))
    }

    /// The table as a version of its log has it.
    pub(crate) async fn of_snapshot(
        session: &Arc<SessionState>,
        log: &Log,
        snapshot: &Snapshot,
        cache: &ProfileCache,
    ) -> Result<Option<CandleTable>> {
        let files = Files::of_log(log, snapshot);
        let mut known = HashMap::new();
        for file in &snapshot.files {
            if let Some(profile) = profile_of(&file.add) {
                known.insert(file.meta.location.to_string(), profile);
            }
        }
        if known.len() < snapshot.files.len() {
            for (path, profile) in cache.load(&files.location, &files.files).profiles {
                known.entry(path).or_insert(profile);
            }
        }
        // Labels and features have no close; that they are ordered, the log says.
        let is_ordered = !snapshot.files.is_empty() && snapshot.files.iter().all(|f| profile_of(&f.add).is_some());

        let table = Self::new(session, files, Arc::clone(&snapshot.schema), known, cache, !is_ordered).await?;
        Ok(table.map(|table| CandleTable {
            version: Some(snapshot.version),
            properties: snapshot.properties.clone(),
            ..table
        }))
    }

    async fn new(
        state: &Arc<SessionState>,
        files: Files,
        file_schema: SchemaRef,
        known: HashMap<String, Profile>,
        cache: &ProfileCache,
        foreign: bool,
    ) -> Result<Option<CandleTable>> {
        if foreign && !has_close(&file_schema) {
            return Ok(None);
        }
        let session: &dyn Session = state.as_ref();
        let location = files.location.clone();
        let text = files.format.kind != Kind::Parquet;
        let recognised = |epoch| {
            let as_written = if foreign { None } else { Columns::as_written(&file_schema) };
            as_written.or_else(|| Columns::recognise(&file_schema, epoch, text))
        };
        let Some(first) = recognised(None) else { return Ok(None) };
        let whole_numbers = file_schema.field(first.ts).data_type().is_integer();
        let epoch = if whole_numbers { sample_epoch(session, &files, &file_schema, first.ts).await? } else { None };
        if let Some(value) = epoch.filter(|value| (1..100_000_000).contains(&value.abs())) {
            return plan_err!(
                "cannot read {location}: its times are whole numbers such as {value}, which are no epochs; the \
                 operation `ingest` reads dates such as 20240131, and here ISO dates, such as 2024-01-31"
            );
        }
        let Some(columns) = recognised(epoch) else { return Ok(None) };
        if columns.zone_assumed {
            tracing::info!("{location}: times without a zone are taken as UTC");
        }
        let sample = epoch;
        let epoch = epoch.filter(|_| text).map(|value| DataType::Timestamp(unit(value), Some("UTC".into())));

        let mut read = TableSchema::builder(Arc::clone(&columns.read));
        let mut names = columns.names.clone();
        if columns.symbol.is_none() {
            read = read.with_table_partition_cols(vec![Arc::new(Field::new("symbol", DataType::Utf8View, false))]);
            names.push("symbol".to_string());
        }
        let read = read.build();
        let positions = canonical_order(&names);
        let fields: Vec<Field> = positions
            .iter()
            .map(|&i| {
                let field = read.table_schema().field(i).clone().with_name(&names[i]);
                if names[i] == "ts" && epoch.is_some() { field.with_data_type(timestamp_type()) } else { field }
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let (version, properties) = (None, HashMap::new());
        let mut table = CandleTable {
            files,
            columns,
            profiles: Arc::default(),
            order: None,
            read,
            positions,
            epoch,
            schema,
            version,
            properties,
            unreadable: vec![],
            only: None,
            within: None,
            symbols: Symbols::default(),
        };
        table.profiles = Arc::new(table.profile(state, cache, known, &file_schema).await?);
        if let Some(sample) = sample {
            table.check_epochs(unit(sample))?;
        }
        table.order = disjoint_order(&table.profiles);
        Ok(Some(table))
    }

    /// Proves the order of every file that is not yet `known`, on all threads of the session, wherever the table is opened.
    async fn profile(
        &self,
        session: &Arc<SessionState>,
        cache: &ProfileCache,
        mut known: HashMap<String, Profile>,
        schema: &SchemaRef,
    ) -> Result<Vec<Profile>> {
        let missing = self.files.files.iter().filter(|m| !known.contains_key(m.location.as_ref()));
        let mut missing: Vec<ObjectMeta> = missing.cloned().collect();
        if !missing.is_empty() {
            let share = missing.len().div_ceil(session.config().target_partitions().max(1));
            let (mut workers, threads) = (JoinSet::new(), ComputeThreads::of(session.config()));
            while !missing.is_empty() {
                let mine = missing.split_off(missing.len().saturating_sub(share));
                let prover = self.prover(session);
                let proofs = async move {
                    let mut done = Vec::with_capacity(mine.len());
                    for meta in mine {
                        let path = meta.location.clone();
                        let shown = isolation::shown(&prover.store_url, &path);
                        let profile = isolation::reading(&shown, prover.prove(meta)).await.map_err(with_times)?;
                        done.push((path.into(), profile));
                    }
                    Ok::<_, DataFusionError>(done)
                };
                workers.spawn_on(proofs, &threads);
            }
            while let Some(done) = workers.join_next().await {
                known.extend(done.map_err(|e| DataFusionError::External(Box::new(e)))??);
            }
            let all = self.files.files.iter().filter_map(|m| Some((m, known.get(m.location.as_ref())?)));
            cache.store(&self.files.location, schema, &all.collect::<Vec<_>>());
        }
        Ok(self.files.files.iter().filter_map(|m| known.remove(m.location.as_ref())).collect())
    }

    fn prover(&self, session: &Arc<SessionState>) -> Prover {
        let mut projection = vec![self.columns.ts];
        projection.extend(self.columns.symbol);
        Prover {
            session: Arc::clone(session),
            task: session.task_ctx(),
            format: self.files.format,
            store_url: self.files.store_url.clone(),
            store: Arc::clone(&self.files.store),
            read: self.read.clone(),
            named_by_file: self.columns.symbol.is_none(),
            projection,
        }
    }
}

/// The log of a location and a version of its table. `Ok(None)`: there is no log, and no version is asked for.
async fn logged(session: &Arc<SessionState>, location: &str, as_of: Option<&AsOf>) -> Result<Option<(Log, Snapshot)>> {
    if !location.contains(['*', '?', '[']) && Format::of(location).is_none() {
        let log = Log::at(session.as_ref(), location)?;
        if let Some(snapshot) = log.snapshot(as_of).await? {
            return Ok(Some((log, snapshot)));
        }
    }
    match as_of {
        Some(version) => {
            let said = format!("{location} has no transaction log, so there is no version {version} of it");
            Err(Error::not_found(said).into())
        }
        None => Ok(None),
    }
}

/// symbol, ts, open, high, low, close, volume, then the rest as it lies.
fn canonical_order(names: &[String]) -> Vec<usize> {
    let known = ["symbol", "ts", "open", "high", "low", "close", "volume"];
    let first = known.iter().filter_map(|k| names.iter().position(|n| n == k));
    let rest = (0..names.len()).filter(|&i| !known.contains(&names[i].as_str()));
    first.chain(rest).collect()
}

/// Says what to do about times in other formats.
fn with_times(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Context(said, error) if error.to_string().contains("Error parsing timestamp") => {
            error.context(format!("{said} (times must be ISO, such as 2024-01-31 or 2024-01-31T09:30:00, or epochs)"))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_come_first_in_their_usual_order() {
        let names = ["trades", "close", "symbol", "open", "ts"].map(str::to_string);
        assert_eq!(canonical_order(&names), [2, 4, 3, 1, 0]);
    }
}
