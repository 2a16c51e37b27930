//! Dead letters: the file that a run keeps them in, beside its journal.

use crate::core::{Bar, Candle, DeadLetter, Feed, Symbol};
use crate::door::Letter;
use crate::journal::lock;
use crate::symbols::Names;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use tallow_common::time::shown;
use tallow_common::{Error, Result};

/// The file of the run of a folder.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("dead_letters.ndjson")
}

/// A dead letter as a line of a file.
#[derive(Serialize, Deserialize)]
struct Line {
    symbol: String,
    ts: i64,
    values: [Option<f64>; 5],
    priority: u8,
    error: String,
    attempts: u32,
    since: i64,
    gone_with: Option<u64>,
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File(path.display().to_string(), error)
}

pub(crate) fn write_letters(path: &Path, letters: &[DeadLetter], names: &Names) -> Result<()> {
    if letters.is_empty() && !path.exists() {
        return Ok(());
    }
    let mut text = vec![];
    for letter in letters {
        let DeadLetter { candle, error, attempts, since, gone_with } = letter.clone();
        let line = Line {
            symbol: names.of(candle.symbol).to_string(),
            ts: candle.bar.ts,
            values: candle.bar.values.map(|value| Some(value).filter(|value| !value.is_nan())),
            priority: candle.priority,
            error,
            attempts,
            since,
            gone_with,
        };
        serde_json::to_writer(&mut text, &line).map_err(|e| failed(path, e.into()))?;
        text.push(b'\n');
    }
    replace(path, &text)
}

/// Writes a file in the place of another, whole or not at all.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    }
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new).map_err(|e| failed(&new, e))?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(|e| failed(&new, e))?;
    std::fs::rename(&new, path).map_err(|e| failed(path, e))
}

/// The dead letters of a file; none where there is no file. `number` gives symbols their numbers.
pub(crate) fn read_letters(
    path: &Path,
    feed: Feed,
    flushed: u64,
    mut number: impl FnMut(&str) -> Symbol,
) -> Result<Vec<DeadLetter>> {
    let lines = lines(path)?;
    let letter = |line: Line| {
        let Line { symbol, ts, values, priority, error, attempts, since, gone_with } = line;
        let bar = Bar { ts, values: values.map(|value| value.unwrap_or(f64::NAN)) };
        let candle = Candle { feed, offset: None, symbol: number(&symbol), bar, priority };
        DeadLetter { candle, error, attempts, since, gone_with }
    };
    Ok(lines.into_iter().filter(|line| line.gone_with.is_none_or(|flush| flush > flushed)).map(letter).collect())
}

/// The letters of a file; none where there is no file.
fn lines(path: &Path) -> Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failed(path, error)),
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| failed(path, e.into()))).collect()
}

/// What a run that does not go on has left of dead letters; `folder` is its own, in that of journals.
///
/// # Errors
/// The file cannot be read.
pub fn stored_letters(folder: &Path) -> Result<Vec<Letter>> {
    let letter = |line: Line| Letter {
        symbol: line.symbol,
        ts: shown(line.ts),
        bar: line.values,
        error: line.error,
        attempts: line.attempts,
        since: shown(line.since),
    };
    // Those that are answered are gone, once their answers are in the lake.
    let all = lines(&file(folder))?.into_iter().filter(|line| line.gone_with.is_none());
    Ok(all.map(letter).collect())
}

/// Has the next run of a folder try dead letters again, of a symbol or all; how many there are.
///
/// # Errors
/// A run goes on; or the file cannot be written.
pub fn retry_stored(folder: &Path, symbol: Option<&str>) -> Result<usize> {
    change(folder, symbol, |line| Some(Line { attempts: 0, ..line }))
}

/// Forgets dead letters, of a symbol or all; how many there were.
///
/// # Errors
/// As [`retry_stored`].
pub fn drop_stored(folder: &Path, symbol: Option<&str>) -> Result<usize> {
    change(folder, symbol, |_| None)
}

fn change(folder: &Path, symbol: Option<&str>, to: impl Fn(Line) -> Option<Line>) -> Result<usize> {
    let path = file(folder);
    if !path.exists() {
        return Ok(0);
    }
    let _lock = lock(folder)?;
    let (mut count, mut text) = (0, vec![]);
    for line in lines(&path)? {
        let is_meant = line.gone_with.is_none() && symbol.is_none_or(|symbol| line.symbol == symbol);
        count += usize::from(is_meant);
        let Some(line) = (if is_meant { to(line) } else { Some(line) }) else { continue };
        serde_json::to_writer(&mut text, &line).map_err(|e| failed(&path, e.into()))?;
        text.push(b'\n');
    }
    replace(&path, &text)?;
    Ok(count)
}
