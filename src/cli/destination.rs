//! Where a result goes, and which format and compression the name of a file stands for.

use super::Failure;
use super::args::{Format, OutputArgs};
use crate::Error;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The formats by the endings of files.
const ENDINGS: [(&str, Format); 11] = [
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("json", Format::Json),
    ("ndjson", Format::Ndjson),
    ("jsonl", Format::Ndjson),
    ("md", Format::Markdown),
    ("parquet", Format::Parquet),
    ("pq", Format::Parquet),
    ("arrow", Format::Arrow),
    ("ipc", Format::Arrow),
    ("feather", Format::Arrow),
];

/// How the bytes of a text are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

/// Where a report goes.
#[derive(Clone, Copy)]
pub(super) struct PageTarget<'a> {
    pub output: &'a Path,
    /// The folder that pictures go to.
    pub png: Option<&'a Path>,
    /// At most so many charts.
    pub charts: usize,
}

/// Where results go. A file appears under its name only when it is complete.
pub(super) enum Target {
    Stdout,
    /// A device or a pipe.
    Stream,
    File {
        beside: tempfile::NamedTempFile,
        path: PathBuf,
    },
}

impl Target {
    /// Begins a file. A plain one comes into its place when it is complete; a device or a pipe takes what comes as it comes.
    pub fn create(path: &Path) -> Result<(Target, File), Failure> {
        let failed = |e| Error::File(path.display().to_string(), e);
        if is_stream(path) {
            let stream = File::options().write(true).open(path).map_err(failed)?;
            return Ok((Target::Stream, stream));
        }
        // Where a link leads to, the link stays.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let beside = new_file(folder_of(&path)).map_err(failed)?;
        let file = beside.reopen().map_err(failed)?;
        Ok((Target::File { beside, path }, file))
    }

    /// Whether it is a file that a reader may move about in.
    pub fn is_file(&self) -> bool {
        matches!(self, Target::File { .. })
    }

    /// Puts it in its place.
    pub fn complete(self) -> Result<(), Failure> {
        if let Target::File { beside, path } = self {
            beside.persist(&path).map_err(|e| Error::File(path.display().to_string(), e.error))?;
        }
        Ok(())
    }
}

/// A temporary file with the rights that a new file would have.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_stream(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// Whether something can be written to a path: checked before it is computed.
pub(super) fn writable(path: &Path) -> Result<(), Failure> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder {}", folder.display())));
    }
    if path.is_dir() {
        return Err(Failure::Usage(format!("{} is a folder: expected a file", path.display())));
    }
    if is_stream(path) {
        return Ok(());
    }
    new_file(folder).map(drop).map_err(|e| Error::File(path.display().to_string(), e).into())
}

/// Whether a result can be written as it is asked for: checked before it is computed.
pub(super) fn check(args: &OutputArgs) -> Result<(), Failure> {
    if let Some(path) = &args.output {
        writable(path)?;
    }
    let (format, _) = shape(args)?;
    if args.output.is_none() && format.is_binary() && std::io::stdout().is_terminal() {
        return Err(Failure::Usage(format!("{} is binary: give a file with -o", format.name())));
    }
    Ok(())
}

/// The format and the compression that are asked for, by name or by the ending of the file.
fn shape(args: &OutputArgs) -> Result<(Format, Option<Compression>), Failure> {
    let Some(path) = &args.output else { return Ok((args.format.unwrap_or(Format::Table), None)) };
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (name, compression) = match (name.strip_suffix(".gz"), name.strip_suffix(".zst")) {
        (Some(name), _) => (name, Some(Compression::Gzip)),
        (_, Some(name)) => (name, Some(Compression::Zstd)),
        _ => (name.as_str(), None),
    };
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let known = ENDINGS.iter().find(|(e, _)| Some(*e) == ending).map(|(_, format)| *format);
    let Some(format) = args.format.or(known) else {
        return Err(Failure::Usage(format!(
            "{}: the ending does not tell a format; expected {}, of which text may have .gz or .zst after it; or give \
             --format",
            path.display(),
            ENDINGS.map(|(e, _)| format!(".{e}")).join(" ")
        )));
    };
    if compression.is_some() && format.is_binary() {
        return Err(Failure::Usage(format!(
            "{}: only text is compressed by .gz and .zst, and {} is binary",
            path.display(),
            format.name()
        )));
    }
    Ok((format, compression))
}

/// Bytes on their way to a target, compressed if its name says so.
pub(super) enum Stream {
    Plain(Plain),
    Gzip(GzEncoder<Plain>),
    Zstd(zstd::stream::write::Encoder<'static, Plain>),
}

type Plain = BufWriter<Box<dyn Write + Send>>;

impl Stream {
    /// Writes what is held back, and the end that the compression has.
    pub fn finish(self) -> std::io::Result<()> {
        match self {
            Stream::Plain(mut plain) => plain.flush(),
            Stream::Gzip(encoder) => encoder.finish()?.flush(),
            Stream::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(plain) => plain.write(bytes),
            Stream::Gzip(encoder) => encoder.write(bytes),
            Stream::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(plain) => plain.flush(),
            // The writers flush after every batch, which would end a block of the compression each time.
            Stream::Gzip(_) | Stream::Zstd(_) => Ok(()),
        }
    }
}

/// A target that was opened.
pub(super) struct Opened {
    pub format: Format,
    pub target: Target,
    pub stream: Stream,
    /// What messages call it.
    pub name: String,
}

/// Opens the target that is asked for.
pub(super) fn open(args: &OutputArgs) -> Result<Opened, Failure> {
    check(args)?;
    let (format, compression) = shape(args)?;
    let (target, raw, name): (Target, Box<dyn Write + Send>, String) = match &args.output {
        Some(path) => {
            let (target, file) = Target::create(path)?;
            (target, Box::new(file), path.display().to_string())
        }
        None => (Target::Stdout, Box::new(std::io::stdout()), "standard output".to_string()),
    };
    let plain = BufWriter::with_capacity(1 << 16, raw);
    let stream = match compression {
        None => Stream::Plain(plain),
        Some(Compression::Gzip) => Stream::Gzip(GzEncoder::new(plain, flate2::Compression::default())),
        Some(Compression::Zstd) => {
            let encoder = zstd::stream::write::Encoder::new(plain, zstd::DEFAULT_COMPRESSION_LEVEL);
            Stream::Zstd(encoder.map_err(|e| Error::File(name.clone(), e))?)
        }
    };
    Ok(Opened { format, target, stream, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, format: Option<Format>) -> Result<(Format, Option<Compression>), String> {
        let args = OutputArgs { format, output: Some(name.into()), max_rows: 40 };
        shape(&args).map_err(|failure| match failure {
            Failure::Usage(message) => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn the_ending_tells_format_and_compression_in_any_case() {
        for (name, expected) in [
            ("a.CSV", (Format::Csv, None)),
            ("a.b/y.csv.gz", (Format::Csv, Some(Compression::Gzip))),
            ("y.TSV.Zst", (Format::Tsv, Some(Compression::Zstd))),
            ("y.jsonl.gz", (Format::Ndjson, Some(Compression::Gzip))),
            ("y.pq", (Format::Parquet, None)),
            ("y.IPC", (Format::Arrow, None)),
        ] {
            assert_eq!(of(name, None), Ok(expected), "{name}");
        }
    }

    #[test]
    fn an_unknown_ending_needs_a_format() {
        for name in ["y", "y.txt", "y.xlsx", "y.gz", ".csv.bz2", "csv", "a.csv/y"] {
            let said = of(name, None).unwrap_err();
            assert!(said.contains(".csv .tsv .json") && said.contains("--format"), "{name}: {said}");
        }
        assert_eq!(of("y.txt", Some(Format::Table)), Ok((Format::Table, None)));
        assert_eq!(of("y.txt.gz", Some(Format::Csv)), Ok((Format::Csv, Some(Compression::Gzip))));
        assert!(of("y.parquet.zst", None).unwrap_err().contains("parquet is binary"));
    }
}
