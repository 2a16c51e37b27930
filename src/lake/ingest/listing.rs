//! Which files are delivered: those that paths, globs and URLs stand for, and the members of archives.

use super::archive::{Archive, Member};
use super::source::Source;
use crate::delta::Log;
use crate::files::{Files, Format, Listed, listed};
use crate::isolation::{self, shown};
use crate::readable::Unreadable;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};
use regex::Regex;
use std::io::Write;
use std::path::{Path, PathBuf};
use tallow_common::Error;
use tempfile::TempDir;

/// The files of a delivery.
pub(super) struct DeliveredFiles {
    pub files: Vec<Source>,
    /// Those without a byte.
    pub empty: Vec<String>,
    /// Archives that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Where members of archives were unpacked to.
    pub unpacked: Vec<TempDir>,
}

/// Lists the files of a delivery, in order of their paths within each location. Archives are unpacked, the members that `member`
/// matches.
pub(super) async fn list(
    session: &SessionState,
    locations: &[String],
    columns: Option<&[String]>,
    member: Option<&Regex>,
) -> Result<DeliveredFiles> {
    let mut delivered = DeliveredFiles { files: vec![], empty: vec![], unreadable: vec![], unpacked: vec![] };
    for location in locations {
        let archives = archives_at(session, location).await?;
        for meta in &archives.files {
            // The only one: there is nothing else to read.
            let is_alone = archives.files.len() == 1 && locations.len() == 1;
            match delivered.add_archive(session, &archives, meta, columns, member).await {
                Err(error) if is_alone => return Err(error),
                Err(error) => {
                    let path = shown(&archives.store_url, &meta.location);
                    let symbol = crate::files::symbol_of(meta.location.as_ref());
                    delivered.unreadable.push(Unreadable { path, symbol, reason: tallow_common::readable(&error) });
                }
                Ok(()) => {}
            }
        }
        if !archives.files.is_empty() {
            continue;
        }
        let Some(files) = files_at(session, location).await? else {
            let said = format!(
                "nothing to ingest at '{location}': expected .csv, .txt, .tsv, .json, .ndjson, .parquet, .arrow or .feather files \
                 (also .gz, .zst), or archives of them (.zip, .tar, .tar.gz)"
            );
            return Err(Error::not_found(said).into());
        };
        for meta in files.files {
            let (path, name) = (shown(&files.store_url, &meta.location), meta.location.to_string());
            let place = (&files.store_url, &files.store);
            delivered.add(Source::new((path, name), meta, place, files.format, columns));
        }
    }
    Ok(delivered)
}

impl DeliveredFiles {
    fn add(&mut self, file: Source) {
        match file.meta.size {
            0 => self.empty.push(file.path),
            _ => self.files.push(file),
        }
    }

    /// Unpacks an archive.
    async fn add_archive(
        &mut self,
        session: &SessionState,
        archives: &Listed,
        meta: &ObjectMeta,
        columns: Option<&[String]>,
        wanted: Option<&Regex>,
    ) -> Result<()> {
        let path = shown(&archives.store_url, &meta.location);
        let folder = spill_folder(session)?;
        let members = unpacked(archives, meta, folder.path(), wanted).await;
        let members = members.map_err(|error| isolation::named(&path, error))?;
        let local_url = ObjectStoreUrl::local_filesystem();
        let local = session.runtime_env().object_store(&local_url)?;
        for Member { name, file, size, format } in members {
            let names = (format!("{path}/{name}"), format!("{}/{name}", meta.location));
            let location = object_store::path::Path::from_absolute_path(&file)?;
            let meta = ObjectMeta { location, size, ..meta.clone() };
            let mut source = Source::new(names, meta, (&local_url, &local), format, columns);
            source.is_member = true;
            self.add(source);
        }
        self.unpacked.push(folder);
        Ok(())
    }
}

/// A folder where sorts spill.
fn spill_folder(session: &SessionState) -> Result<TempDir> {
    let spilled = session.runtime_env().disk_manager.create_tmp_file("members of archives")?;
    Ok(match spilled.path().and_then(Path::parent) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    })
}

/// The archives at a location.
///
/// # Errors
/// Other files lie beside them.
async fn archives_at(session: &SessionState, location: &str) -> Result<Listed> {
    let mut found = listed(session, location).await?;
    let other = found.files.iter().find(|meta| Format::of(meta.location.as_ref()).is_some()).cloned();
    found.files.retain(|meta| Archive::of(meta.location.as_ref()).is_some());
    match (found.files.first(), other) {
        (Some(archive), Some(other)) => plan_err!(
            "{location}: archives and files side by side ({} and {}); name one kind of them, as in '{location}/*.zip'",
            archive.location,
            other.location
        ),
        _ => Ok(found),
    }
}

/// Unpacks an archive into a folder.
async fn unpacked(of: &Listed, meta: &ObjectMeta, into: &Path, member: Option<&Regex>) -> Result<Vec<Member>> {
    let Some(archive) = Archive::of(meta.location.as_ref()) else { return Ok(vec![]) };
    let is_wanted = |name: &str| member.is_none_or(|member| member.is_match(name));
    let there = PathBuf::from(shown(&of.store_url, &meta.location));
    let members = match of.store_url.as_str().starts_with("file://") && there.exists() {
        true => archive.unpack(&there, into, is_wanted)?,
        false => {
            let mut fetched = tempfile::NamedTempFile::new()?;
            let mut bytes = of.store.get(&meta.location).await?.into_stream();
            while let Some(piece) = bytes.try_next().await? {
                fetched.write_all(&piece)?;
            }
            archive.unpack(fetched.path(), into, is_wanted)?
        }
    };
    match members.is_empty() {
        true => exec_err!("it has no member that can be ingested"),
        false => Ok(members),
    }
}

/// The files at a location; of a Delta table those that its newest version names.
async fn files_at(session: &SessionState, location: &str) -> Result<Option<Files>> {
    if !location.contains(['*', '?', '[']) && Format::of(location).is_none() {
        let log = Log::at(session, location)?;
        if let Some(snapshot) = log.snapshot(None).await? {
            return Ok(Some(Files::of_log(&log, &snapshot)));
        }
    }
    Files::list(session, location).await
}
