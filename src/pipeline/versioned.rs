//! What a lake keeps in versions under a name: a formula, a strategy.

use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;
use tallow_lake::{Lake, Record, StoredFormula, StoredStrategy};

/// Something that a lake keeps in versions.
pub(crate) trait Versioned: Record + Clone + PartialEq {
    /// What it is called.
    const WHAT: &'static str;
    /// How its commits are called.
    const OPERATION: &'static str;

    /// Its name.
    fn name(&self) -> &str;
    /// Its version, from 1.
    fn version(&self) -> i64;
    /// The same as a version that was added at a time.
    fn as_version(&self, version: i64, created_at: i64) -> Self;
    /// When it was added.
    fn created_at(&self) -> i64;
}

macro_rules! versioned {
    ($record:ty, $what:literal, $operation:literal) => {
        impl Versioned for $record {
            const WHAT: &'static str = $what;
            const OPERATION: &'static str = $operation;

            fn name(&self) -> &str {
                &self.name
            }

            fn version(&self) -> i64 {
                self.version
            }

            fn as_version(&self, version: i64, created_at: i64) -> Self {
                Self { version, created_at, ..self.clone() }
            }

            fn created_at(&self) -> i64 {
                self.created_at
            }
        }
    };
}

versioned!(StoredFormula, "formula", "FORMULA");
versioned!(StoredStrategy, "strategy", "STRATEGY");

/// All versions, by name and version.
pub(crate) async fn all<T: Versioned>(lake: &Lake) -> datafusion::common::Result<Vec<T>> {
    let mut all = lake.records::<T>().await?;
    all.sort_by(|a, b| (a.name(), a.version()).cmp(&(b.name(), b.version())));
    Ok(all)
}

/// Adds the next version of a name and returns it. What equals the newest version is not added again. Two writers at the same time
/// get two versions.
pub(crate) async fn store<T: Versioned>(lake: &Lake, record: T) -> datafusion::common::Result<i64> {
    lake.change_records(T::OPERATION, move |all: &mut Vec<T>| Ok(next_version(all, &record))).await
}

fn next_version<T: Versioned>(all: &mut Vec<T>, record: &T) -> i64 {
    let newest = all.iter().filter(|known| known.name() == record.name()).max_by_key(|known| known.version());
    if let Some(known) = newest.filter(|known| record.as_version(known.version(), known.created_at()) == **known) {
        return known.version();
    }
    let version = newest.map_or(0, T::version) + 1;
    all.push(record.as_version(version, record.created_at()));
    version
}

/// What `name` or `name@version` stands for, if the text is one of these and the name is known; all in the order of [`all`].
///
/// # Errors
/// The name is known and has no such version.
pub(crate) fn find<T: Versioned>(all: Vec<T>, text: &str) -> Result<Option<T>> {
    let Some((name, version)) = named(text) else { return Ok(None) };
    let mut versions: Vec<T> = all.into_iter().filter(|known| known.name() == name).collect();
    match version {
        None => Ok(versions.pop()),
        Some(_) if versions.is_empty() => Ok(None),
        Some(number) => match versions.iter().find(|known| known.version() == number) {
            Some(found) => Ok(Some(found.clone())),
            None => {
                let (what, last) = (T::WHAT, versions.len());
                Err(Error::not_found(format!("{what} {name} has versions 1 to {last}, not {number}")))
            }
        },
    }
}

/// The name and the version that a text such as `dip@2` asks for, if it can be one.
pub(crate) fn named(text: &str) -> Option<(&str, Option<i64>)> {
    let (name, version) = match text.trim().split_once('@') {
        Some((name, version)) => (name, Some(version.trim_start_matches('v').parse().ok()?)),
        None => (text.trim(), None),
    };
    is_name(name).then_some((name, version))
}

/// A word that something may be called by: it must not read as anything else.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The newest version of each.
pub(crate) fn newest<T: Versioned>(all: &[T]) -> impl Iterator<Item = &T> {
    let is_newest = |i: usize, known: &T| all.get(i + 1).is_none_or(|next| next.name() != known.name());
    all.iter().enumerate().filter(move |(i, known)| is_newest(*i, known)).map(|(_, known)| known)
}

/// That there is nothing of this name; `add` shows how one is added.
pub(crate) fn unknown<T: Versioned>(all: &[T], text: &str, add: &str) -> Error {
    let hint = match closest(text, all.iter().map(T::name)) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None if all.is_empty() => format!("the lake keeps none yet: the operation `{add}`"),
        None => format!("the operation `{} list` shows all", T::WHAT),
    };
    Error::not_found(format!("unknown {} `{text}`", T::WHAT)).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_a_new_version_and_what_is_repeated_is_not() {
        let formula = |text: &str, created_at| StoredFormula {
            name: "dip".to_string(),
            formula: text.to_string(),
            created_at,
            ..StoredFormula::default()
        };
        let mut all = vec![];
        let versions =
            [("a", 1), ("a", 2), ("b", 3), ("a", 4)].map(|(text, at)| next_version(&mut all, &formula(text, at)));
        assert_eq!(versions, [1, 1, 2, 3]);
        assert_eq!(all.iter().map(|known| known.created_at).collect::<Vec<_>>(), [1, 3, 4]);
        let of = |text: &str| find(all.clone(), text).map(|found| found.map(|formula| formula.version));
        assert_eq!((of("dip").unwrap(), of("dip@2").unwrap(), of("rsi(14) < 30").unwrap()), (Some(3), Some(2), None));
        assert_eq!(of("dip@v9").unwrap_err().to_string(), "formula dip has versions 1 to 3, not 9");
    }
}
