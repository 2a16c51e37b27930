//! Keys: 256 random bits each, of which a file keeps the SHA-256, so that whoever reads it can use none.

use super::rate::Bucket;
use super::{Caller, Role};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tallow_common::time::shown;
use tallow_common::{Code, Error, Result};

/// What keys begin with, so that they are found where they should not be.
const PREFIX: &str = "tallow_";
/// How long the file is believed to be what it was.
const BELIEVED: Duration = Duration::from_millis(500);

/// A key, without what would let anybody in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Its name, by which it is listed and revoked.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The SHA-256 of it, as hexadecimal digits.
    pub sha256: String,
    /// When it was made, in microseconds since the epoch.
    pub since: i64,
    /// When it ends.
    pub until: Option<i64>,
    /// How much may be done with it.
    #[serde(default)]
    pub limits: KeyLimits,
}

/// How much may be done with a key; `None`: as much as the server does for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Requests a minute.
    pub requests: Option<u32>,
    /// Queries at the same time.
    pub queries: Option<usize>,
    /// Bytes of memory of each.
    pub memory: Option<usize>,
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it ends.
    pub until: Option<i64>,
    /// How much may be done with it.
    pub limits: KeyLimits,
}

/// The keys of a file, which is read again when it changes.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    modified: Option<SystemTime>,
    keys: HashMap<String, Key>,
    used: HashMap<String, Bucket>,
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File(path.display().to_string(), error)
}

impl Keys {
    /// Those of a file.
    ///
    /// # Errors
    /// It cannot be read, or others than its owner can read it.
    pub fn open(path: &Path) -> Result<Keys> {
        let keys = Keys { path: path.to_path_buf(), known: Mutex::default() };
        let listed = Keys::list(path)?;
        if listed.is_empty() {
            return Err(Error::invalid(format!("{} holds no key", path.display())));
        }
        keys.look(&mut keys.known.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(keys)
    }

    /// All keys of a file; none if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(path: &Path) -> Result<Vec<Key>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(failed(path, error)),
        };
        serde_json::from_str(&text)
            .map_err(|error| Error::invalid(format!("{} holds no keys: {error}", path.display())))
    }

    /// Makes a key, and gives it: it is kept nowhere.
    ///
    /// # Errors
    /// There is one of that name, or the file cannot be written.
    pub fn add(path: &Path, new: NewKey) -> Result<String> {
        let mut all = Keys::list(path)?;
        if new.name.is_empty() || all.iter().any(|key| key.name == new.name) {
            return Err(Error::conflict(format!("there is a key `{}` already, or it has no name", new.name)));
        }
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::invalid("the system gives no random numbers"))?;
        let key = format!("{PREFIX}{}", hexadecimal(&random));
        let since = crate::queries::micros_of_now();
        let NewKey { name, role, until, limits } = new;
        all.push(Key { name, role, sha256: sha256(&key), since, until, limits });
        write(path, &all)?;
        Ok(key)
    }

    /// Forgets a key, which lets nobody in any more.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn revoke(path: &Path, name: &str) -> Result<()> {
        let mut all = Keys::list(path)?;
        let before = all.len();
        all.retain(|key| key.name != name);
        if all.len() == before {
            let known: Vec<&str> = all.iter().map(|key| key.name.as_str()).collect();
            let said = format!("{} has no key `{name}`", path.display());
            return Err(Error::not_found(said).with_hint(format!("there are: {}", known.join(", "))));
        }
        write(path, &all)
    }

    /// Who has a key.
    pub(super) fn caller(&self, key: &str) -> Result<Caller> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut known)?;
        let hash = sha256(key);
        if !known.keys.contains_key(&hash) {
            // It may be new.
            known.looked = None;
            self.look(&mut known)?;
        }
        let unknown = || Error::known(Code::Unauthorized, "the key is not known here");
        let of = known.keys.get(&hash).ok_or_else(unknown)?;
        verify_slices_are_equal(of.sha256.as_bytes(), hash.as_bytes()).map_err(|_| unknown())?;
        let now = crate::queries::micros_of_now();
        if let Some(until) = of.until.filter(|until| *until <= now) {
            let said = format!("the key `{}` ended at {}", of.name, shown(until));
            return Err(Error::known(Code::Unauthorized, said));
        }
        let Key { name, role, limits, .. } = of.clone();
        if let Some(a_minute) = limits.requests {
            let bucket = known.used.entry(name.clone()).or_insert_with(|| Bucket::full(a_minute, Instant::now()));
            if let Err(seconds) = bucket.take(Instant::now()) {
                let said = format!("the key `{name}` allows {a_minute} requests a minute: the next in {seconds:.0} s");
                return Err(Error::known(Code::RateLimited, said));
            }
        }
        Ok(Caller { name, role, queries: limits.queries, memory: limits.memory })
    }

    /// Reads the file if it may have changed. One that cannot be read lets nobody in.
    fn look(&self, known: &mut Known) -> Result<()> {
        if known.looked.is_some_and(|looked| looked.elapsed() < BELIEVED) {
            return Ok(());
        }
        let modified = std::fs::metadata(&self.path).and_then(|of| of.modified()).ok();
        if modified.is_none() || modified != known.modified {
            known.keys = Keys::list(&self.path)?.into_iter().map(|key| (key.sha256.clone(), key)).collect();
            known.used.clear();
            known.modified = modified;
        }
        known.looked = Some(Instant::now());
        Ok(())
    }
}

fn sha256(key: &str) -> String {
    hexadecimal(digest(&SHA256, key.as_bytes()).as_ref())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes the file in the place of what it was, readable by its owner alone.
fn write(path: &Path, keys: &[Key]) -> Result<()> {
    let text = serde_json::to_string_pretty(keys).map_err(|error| failed(path, error.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of its owner alone, as all temporary files are.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(path, error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(path, error))?;
    file.persist(path).map_err(|error| failed(path, error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, role: Role) -> NewKey {
        NewKey { name: name.to_string(), role, until: None, limits: KeyLimits::default() }
    }

    #[test]
    fn a_key_lets_in_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        assert!(Keys::open(&path).is_err());
        let reader = Keys::add(&path, new("grafana", Role::Read)).unwrap();
        let writer = Keys::add(&path, new("feed", Role::Write)).unwrap();
        assert_eq!((reader.len(), Keys::add(&path, new("feed", Role::Read)).is_err()), (PREFIX.len() + 64, true));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&reader[PREFIX.len()..]) && !text.contains(&writer[PREFIX.len()..]));
        let keys = Keys::open(&path).unwrap();
        let caller = keys.caller(&reader).unwrap();
        assert_eq!((caller.name.as_str(), caller.may(Role::Read).is_ok()), ("grafana", true));
        let refused = caller.may(Role::Write).unwrap_err();
        assert_eq!(refused.to_string(), "the key `grafana` has the role read, and this needs write");
        assert!(keys.caller(&writer).unwrap().may(Role::Run).is_ok());
        assert_eq!(keys.caller(&format!("{reader}0")).unwrap_err().code(), Code::Unauthorized);
        Keys::revoke(&path, "grafana").unwrap();
        keys.known.lock().unwrap().looked = None;
        assert_eq!(keys.caller(&reader).unwrap_err().code(), Code::Unauthorized);
        assert!(keys.caller(&writer).is_ok());
        let error = Keys::revoke(&path, "grafana").unwrap_err().to_string();
        assert!(error.ends_with("has no key `grafana`; there are: feed"), "{error}");
    }

    #[test]
    fn a_key_ends_and_is_used_so_often() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let limits = KeyLimits { requests: Some(1), ..KeyLimits::default() };
        let seldom = Keys::add(&path, NewKey { limits, ..new("seldom", Role::Read) }).unwrap();
        let over = Keys::add(&path, NewKey { until: Some(0), ..new("over", Role::Read) }).unwrap();
        let keys = Keys::open(&path).unwrap();
        keys.caller(&seldom).unwrap();
        let error = keys.caller(&seldom).unwrap_err();
        assert_eq!(error.code(), Code::RateLimited);
        assert!(error.to_string().starts_with("the key `seldom` allows 1 requests a minute: the next in 60 s"));
        assert_eq!(keys.caller(&over).unwrap_err().to_string(), "the key `over` ended at 1970-01-01");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        Keys::add(&path, new("a", Role::Read)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
