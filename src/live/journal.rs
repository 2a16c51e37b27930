//! The journal: candles that were accepted, on disk before their feeds hear of it, until they are in the lake.
//!
//! A folder of segments, `<number of the first candle>.journal`. A segment is a row of frames: the length and the CRC-32 of what
//! follows, and then the candle. What a crash tore off at the end of a segment was never accepted.

use crate::core::{Bar, Candle, Feed, Sequence, Symbol};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tallow_common::{Error, Result};

const ENDING: &str = "journal";
const LOCK: &str = "lock";
/// A frame is not longer.
const MOST: usize = 1 << 12;

/// A candle of the journal, whose symbol is known by its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub sequence: Sequence,
    pub symbol: String,
    pub bar: Bar,
    pub priority: u8,
}

/// A journal that candles are added to.
pub(crate) struct Journal {
    folder: PathBuf,
    /// Segments that are closed, with the last candle of each.
    closed: Vec<(PathBuf, Sequence)>,
    current: Option<(PathBuf, File, Sequence)>,
    buffer: Vec<u8>,
    /// The candles in the buffer.
    buffered: Option<(Sequence, Sequence)>,
    _lock: File,
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File(path.display().to_string(), error)
}

/// Keeps all other runs out of a folder for as long as what is given back is there.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let path = folder.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|e| failed(&path, e))?;
    lock.try_lock().map_err(|_| {
        Error::conflict(format!("another live run keeps its journal in {}", folder.display()))
            .with_hint("stop it first, or give this one a name of its own")
    })?;
    Ok(lock)
}

impl Journal {
    /// Opens the journal in a folder, which no other run has open, and reads what it holds.
    pub fn open(folder: &Path) -> Result<(Journal, Vec<Entry>)> {
        let lock = lock(folder)?;
        let listed = std::fs::read_dir(folder).map_err(|e| failed(folder, e))?;
        let mut segments: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        segments.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
        segments.sort();
        let (mut entries, mut closed) = (vec![], vec![]);
        for path in segments {
            let of_segment = read(&path)?;
            if of_segment.is_empty() {
                // A run that was killed before the first candle in it was on disk: the next one has its number, and so its name.
                std::fs::remove_file(&path).map_err(|e| failed(&path, e))?;
                continue;
            }
            closed.push((path, of_segment.last().map_or(0, |entry| entry.sequence)));
            entries.extend(of_segment);
        }
        let folder = folder.to_path_buf();
        let journal = Journal { folder, closed, current: None, buffer: vec![], buffered: None, _lock: lock };
        Ok((journal, entries))
    }

    /// Adds a candle, which is on disk once [`Journal::sync`] has returned.
    pub fn append(&mut self, sequence: Sequence, candle: &Candle, symbol: &str) {
        let mut frame = Vec::with_capacity(72);
        frame.extend_from_slice(&sequence.to_le_bytes());
        frame.push(candle.priority);
        frame.extend_from_slice(&candle.bar.ts.to_le_bytes());
        candle.bar.values.iter().for_each(|value| frame.extend_from_slice(&value.to_le_bytes()));
        frame.extend_from_slice(symbol.as_bytes());
        self.buffer.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        self.buffer.extend_from_slice(&frame);
        let first = self.buffered.map_or(sequence, |(first, _)| first);
        self.buffered = Some((first, sequence));
    }

    /// Writes what was added, and waits until it is on disk.
    pub fn sync(&mut self) -> Result<()> {
        let Some((first, last)) = self.buffered.take() else { return Ok(()) };
        if self.current.is_none() {
            let path = self.folder.join(format!("{first:020}.{ENDING}"));
            let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(|e| failed(&path, e))?;
            // The name of the file has to outlive a crash too.
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&self.folder, e))?;
            self.current = Some((path, file, last));
        }
        let Some((path, file, newest)) = &mut self.current else { return Ok(()) };
        file.write_all(&self.buffer).and_then(|()| file.sync_data()).map_err(|e| failed(path, e))?;
        *newest = last;
        self.buffer.clear();
        Ok(())
    }

    /// Forgets candles up to one: segments that hold no later ones are deleted.
    pub fn truncate(&mut self, through: Sequence) -> Result<()> {
        if let Some((path, _, last)) = self.current.take_if(|_| self.buffered.is_none()) {
            self.closed.push((path, last));
        }
        let (done, rest) = std::mem::take(&mut self.closed).into_iter().partition(|(_, last)| *last <= through);
        self.closed = rest;
        let done: Vec<(PathBuf, Sequence)> = done;
        for (path, _) in done {
            std::fs::remove_file(&path).map_err(|e| failed(&path, e))?;
        }
        Ok(())
    }
}

/// The candles of a segment, up to where it is torn.
fn read(path: &Path) -> Result<Vec<Entry>> {
    let mut bytes = vec![];
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|e| failed(path, e))?;
    let (mut entries, mut rest) = (vec![], bytes.as_slice());
    while let Some((entry, after)) = frame(rest) {
        entries.push(entry);
        rest = after;
    }
    if !rest.is_empty() {
        tracing::warn!(
            "{}: {} bytes at the end were not written whole, and never accepted",
            path.display(),
            rest.len()
        );
    }
    Ok(entries)
}

fn frame(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (frame, after) = rest.split_at_checked(length).filter(|_| length <= MOST)?;
    if crc32fast::hash(frame) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (sequence, frame) = frame.split_first_chunk::<8>()?;
    let (priority, frame) = frame.split_first()?;
    let (ts, mut frame) = frame.split_first_chunk::<8>()?;
    let mut values = [0.0; 5];
    for value in &mut values {
        let (bytes, rest) = frame.split_first_chunk::<8>()?;
        *value = f64::from_le_bytes(*bytes);
        frame = rest;
    }
    let symbol = std::str::from_utf8(frame).ok()?.to_string();
    let bar = Bar { ts: i64::from_le_bytes(*ts), values };
    Some((Entry { sequence: u64::from_le_bytes(*sequence), symbol, bar, priority: *priority }, after))
}

impl Entry {
    /// The candle, once its symbol has a number.
    pub fn candle(&self, feed: Feed, symbol: Symbol) -> Candle {
        Candle { feed, offset: None, symbol, bar: self.bar, priority: self.priority }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(ts: i64) -> Candle {
        let bar = Bar { ts, values: [1.0, 2.0, 0.5, 1.5, 100.0] };
        Candle { feed: Feed(0), offset: None, symbol: Symbol(0), bar, priority: 3 }
    }

    fn sequences(entries: &[Entry]) -> Vec<Sequence> {
        entries.iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, entries) = Journal::open(folder.path()).unwrap();
        assert!(entries.is_empty() && Journal::open(folder.path()).is_err());
        for sequence in 1..=3 {
            journal.append(sequence, &candle(sequence as i64), "BRK.B");
            journal.sync().unwrap();
        }
        drop(journal);
        let (journal, entries) = Journal::open(folder.path()).unwrap();
        assert_eq!(entries[2], Entry { sequence: 3, symbol: "BRK.B".to_string(), bar: candle(3).bar, priority: 3 });
        drop(journal);
        let segment = folder.path().join("00000000000000000001.journal");
        let whole = std::fs::read(&segment).unwrap();
        for cut in 0..whole.len() {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(segment.file_name().unwrap()), &whole[..cut]).unwrap();
            let (mut journal, entries) = Journal::open(folder.path()).unwrap();
            let kept = (cut * 3 / whole.len()) as u64;
            assert_eq!(sequences(&entries), (1..=kept).collect::<Vec<_>>(), "{cut}");
            // The run goes on behind what is there.
            journal.append(kept + 1, &candle(9), "A");
            journal.sync().unwrap();
            drop(journal);
            assert_eq!(
                sequences(&Journal::open(folder.path()).unwrap().1),
                (1..=kept + 1).collect::<Vec<_>>(),
                "{cut}"
            );
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 3 + 20] ^= 1;
        std::fs::write(&segment, damaged).unwrap();
        assert_eq!(sequences(&Journal::open(folder.path()).unwrap().1), [1]);
    }

    #[test]
    fn segments_that_are_in_the_lake_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.append(1, &candle(1), "A");
        journal.append(2, &candle(2), "A");
        journal.sync().unwrap();
        journal.truncate(1).unwrap();
        journal.append(3, &candle(3), "A");
        journal.sync().unwrap();
        journal.truncate(2).unwrap();
        drop(journal);
        let (mut journal, entries) = Journal::open(folder.path()).unwrap();
        assert_eq!(sequences(&entries), [3]);
        journal.truncate(3).unwrap();
        drop(journal);
        assert!(Journal::open(folder.path()).unwrap().1.is_empty());
    }
}
