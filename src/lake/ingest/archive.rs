//! Archives: zip and tar files whose members are delivered like files in a folder.
//!
//! Members are unpacked to a temporary folder under numbers, so that what a member is called decides nothing about where it is
//! written. A bomb is refused by its ratio before it fills the disk.

use crate::files::Format;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

/// A member is not larger than so many times the whole archive ...
const MOST_RATIO: u64 = 100;
/// ... unless it is smaller than this.
const SMALL: u64 = 64 << 20;
/// Bytes that are copied at once.
const AT_ONCE: usize = 256 << 10;

/// What kind of archive a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Zip,
    Tar,
    TarGz,
}

/// A member that was unpacked.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path in the archive.
    pub name: String,
    /// Where it was unpacked to.
    pub file: PathBuf,
    pub size: u64,
    pub format: Format,
}

impl Archive {
    /// By the name of a file.
    pub fn of(path: &str) -> Option<Archive> {
        let name = path.to_ascii_lowercase();
        let ends =
            [(".zip", Archive::Zip), (".tar", Archive::Tar), (".tar.gz", Archive::TarGz), (".tgz", Archive::TarGz)];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, archive)| archive)
    }

    /// Unpacks the members of a known format that are wanted into a folder, in the order of their names.
    ///
    /// # Errors
    /// A damaged archive, a member outside it, or one that is far too large for it.
    pub fn unpack(self, archive: &Path, into: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Member>> {
        let packed = archive.metadata()?.len();
        let mut members = Members { into, packed, found: vec![] };
        let file = BufReader::with_capacity(AT_ONCE, File::open(archive)?);
        match self {
            Archive::Zip => {
                let mut zip = zip::ZipArchive::new(file).map_err(damaged)?;
                for at in 0..zip.len() {
                    let mut member = zip.by_index(at).map_err(damaged)?;
                    let name = member.name().map_err(damaged)?.into_owned();
                    let size = member.size();
                    if member.is_file() && is_wanted(&name) {
                        members.add(&name, size, &mut member)?;
                    }
                }
            }
            Archive::Tar => members.add_tar(file, &is_wanted)?,
            Archive::TarGz => members.add_tar(flate2::read::MultiGzDecoder::new(file), &is_wanted)?,
        }
        members.found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members.found)
    }
}

fn damaged(error: impl std::error::Error) -> DataFusionError {
    exec_datafusion_err!("the archive cannot be read: {error}")
}

struct Members<'a> {
    into: &'a Path,
    /// Bytes of the archive.
    packed: u64,
    found: Vec<Member>,
}

impl Members<'_> {
    fn add_tar(&mut self, bytes: impl Read, is_wanted: &impl Fn(&str) -> bool) -> Result<()> {
        let mut tar = tar::Archive::new(bytes);
        for member in tar.entries()? {
            let mut member = member.map_err(damaged)?;
            let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            // Links lead elsewhere.
            if member.header().entry_type().is_file() && is_wanted(&name) {
                let size = member.size();
                self.add(&name, size, &mut member)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, size: u64, bytes: &mut impl Read) -> Result<()> {
        let parts: Vec<Component<'_>> = Path::new(name).components().collect();
        if parts.iter().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) || name.contains('\\') {
            return exec_err!("its member '{name}' lies outside the archive");
        }
        let is_hidden = |part: &Component<'_>| matches!(part, Component::Normal(part) if part.to_string_lossy().starts_with(['.', '_']));
        let Some(format) = Format::of(name).filter(|_| !parts.iter().any(is_hidden)) else { return Ok(()) };
        let most = (self.packed * MOST_RATIO).max(SMALL);
        if size > most {
            return exec_err!(
                "its member '{name}' has {size} bytes, more than {MOST_RATIO} times those of the archive: that is no data"
            );
        }
        let file = self.into.join(self.found.len().to_string());
        let mut written = File::create(&file)?;
        let (mut buffer, mut total) = (vec![0; AT_ONCE], 0u64);
        loop {
            let read = bytes.read(&mut buffer).map_err(damaged)?;
            if read == 0 {
                break;
            }
            total += read as u64;
            if total > most {
                return exec_err!(
                    "its member '{name}' has more than {most} bytes, {MOST_RATIO} times those of the archive: that is no data"
                );
            }
            written.write_all(&buffer[..read])?;
        }
        self.found.push(Member { name: name.to_string(), file, size: total, format });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip_of(members: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, bytes) in members {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        (folder, path)
    }

    fn unpacked(path: &Path) -> Result<Vec<(String, String)>> {
        let into = tempfile::tempdir().unwrap();
        let members = Archive::of(&path.display().to_string()).unwrap().unpack(path, into.path(), |_| true)?;
        let read = |member: &Member| std::fs::read_to_string(&member.file).unwrap();
        Ok(members.iter().map(|member| (member.name.clone(), read(member))).collect())
    }

    #[test]
    fn members_of_known_formats_are_unpacked_by_name() {
        let (_folder, path) =
            zip_of(&[("b/B.csv", b"2"), ("A.csv", b"1"), ("about.md", b"x"), ("__MACOSX/A.csv", b"x")]);
        assert_eq!(unpacked(&path).unwrap(), [("A.csv".into(), "1".into()), ("b/B.csv".into(), "2".into())]);
    }

    #[test]
    fn a_member_outside_and_a_bomb_are_refused() {
        let (_folder, path) = zip_of(&[("../x.csv", b"1")]);
        assert!(unpacked(&path).unwrap_err().to_string().contains("'../x.csv' lies outside the archive"));
        let (_folder, path) = zip_of(&[("zeros.csv", &vec![0; 128 << 20])]);
        assert!(unpacked(&path).unwrap_err().to_string().contains("that is no data"));
    }

    #[test]
    fn tars_with_and_without_compression() {
        let folder = tempfile::tempdir().unwrap();
        let tar = |out: Box<dyn Write>| {
            let mut tar = tar::Builder::new(out);
            for (name, text) in [("x/prices.csv", "1"), ("x/notes.bin", "2")] {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_cksum();
                tar.append_data(&mut header, name, text.as_bytes()).unwrap();
            }
            tar.into_inner().unwrap()
        };
        for name in ["a.tar", "a.tar.gz", "a.tgz"] {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            let mut out: Box<dyn Write> = match Archive::of(name).unwrap() {
                Archive::TarGz => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
                _ => Box::new(file),
            };
            out = tar(out);
            drop(out);
            assert_eq!(unpacked(&path).unwrap(), [("x/prices.csv".into(), "1".into())], "{name}");
        }
        std::fs::write(folder.path().join("b.zip"), "no zip").unwrap();
        assert!(unpacked(&folder.path().join("b.zip")).unwrap_err().to_string().contains("cannot be read"));
    }
}
