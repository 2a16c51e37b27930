//! Models by name: files of the lake, read once a session.

use super::Model;
use crate::Session;
use datafusion::sql::parser::Statement;
use prost::Message;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tallow_common::{Error, Result};
use tallow_engine::dialect::{calls_of, closest};
use tallow_lake::Lake;

/// The folder of models.
const FOLDER: &str = "models";

/// The part of its memory that a partition gives to a model of the user's own.
const MEMORY_SHARE: usize = 4;

/// The models that a session has read.
#[derive(Debug)]
pub struct Models {
    read: RwLock<HashMap<String, Loaded>>,
    /// What each may take, in bytes.
    memory: usize,
}

/// A model, and the file that it was read from.
#[derive(Debug, Clone)]
struct Loaded {
    model: Arc<Model>,
    file: String,
    bytes: Arc<[u8]>,
}

/// The files of models, and what each model may take, as they travel with a plan.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelFiles {
    #[prost(uint64, tag = "1")]
    memory: u64,
    #[prost(message, repeated, tag = "2")]
    files: Vec<ModelFile>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelFile {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    file: String,
    #[prost(bytes = "vec", tag = "3")]
    bytes: Vec<u8>,
}

impl Models {
    /// None yet, for partitions with so much memory each.
    pub fn new(memory: usize) -> Models {
        Models { read: RwLock::default(), memory: memory / MEMORY_SHARE }
    }

    /// Those of a session.
    pub fn of(session: &Session) -> Result<Arc<Models>> {
        session.extension()
    }

    /// A model that was read before, or the one that needs no reading.
    pub fn get(&self, name: &str) -> Option<Arc<Model>> {
        if name == Model::WALK {
            return Some(Arc::new(Model::Walk));
        }
        self.read.read().unwrap_or_else(PoisonError::into_inner).get(name).map(|loaded| Arc::clone(&loaded.model))
    }

    /// Reads a model: one of the lake by its name, or a file by its path or URL, which ends in `.json` or `.onnx`.
    pub async fn load(&self, lake: &Lake, name: &str) -> Result<Arc<Model>> {
        if name == Model::WALK {
            return Ok(Arc::new(Model::Walk));
        }
        let is_path = name.contains('/');
        let mut candidates = vec![];
        for ending in [".json", ".onnx"] {
            let file = if name.ends_with(ending) { name.to_string() } else { format!("{name}{ending}") };
            let fits = !(name.ends_with(".json") || name.ends_with(".onnx")) || name.ends_with(ending);
            if fits {
                candidates.push(match is_path {
                    false => format!("{FOLDER}/{file}"),
                    // From where the user is, not from the lake.
                    true if !file.starts_with(['/', '.']) && !file.contains("://") => format!("./{file}"),
                    true => file,
                });
            }
        }
        for file in candidates {
            if let Some(bytes) = lake.file(&file).await? {
                return self.add(name, &file, &bytes);
            }
        }
        if is_path {
            let hint = match name.ends_with(".json") || name.ends_with(".onnx") {
                true => "there is no such file",
                false => "expected the path of a .json or .onnx file",
            };
            return Err(Error::not_found(format!("model '{name}': {hint}")));
        }
        let known = names(lake).await?;
        let hint = match closest(name, known.iter().map(String::as_str)) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None if known.is_empty() => {
                format!(
                    "the lake has none yet: the operation `pattern train PATTERN` with the option `model {name}`; '{}' needs \
                     none",
                    Model::WALK
                )
            }
            None => format!("there are {}, and '{}', which needs no training", known.join(", "), Model::WALK),
        };
        Err(Error::not_found(format!("unknown model `{name}`")).with_hint(hint))
    }

    fn add(&self, name: &str, file: &str, bytes: &[u8]) -> Result<Arc<Model>> {
        let model = Arc::new(Model::read(file, bytes, self.memory)?);
        let loaded = Loaded { model: Arc::clone(&model), file: file.to_string(), bytes: bytes.into() };
        self.read.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), loaded);
        Ok(model)
    }

    /// All that were read, as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let file = |(name, loaded): (&String, &Loaded)| ModelFile {
            name: name.clone(),
            file: loaded.file.clone(),
            bytes: loaded.bytes.to_vec(),
        };
        let mut files: Vec<_> = read.iter().map(file).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        ModelFiles { memory: self.memory as u64, files }.encode_to_vec()
    }

    /// Those that [`Models::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Models> {
        let ModelFiles { memory, files } = tallow_common::codec::read(bytes)?;
        let models = Models { read: RwLock::default(), memory: memory as usize };
        files.iter().try_for_each(|ModelFile { name, file, bytes }| models.add(name, file, bytes).map(|_| ()))?;
        Ok(models)
    }

    /// Reads the models that statements call by name in `predict('name', ...)`.
    pub async fn load_called(&self, lake: &Lake, statements: &[Statement]) -> Result<()> {
        for name in calls_of("predict", statements) {
            self.load(lake, &name).await?;
        }
        Ok(())
    }
}

/// The models that a lake has.
pub async fn names(lake: &Lake) -> Result<Vec<String>> {
    let files = lake.files_in(FOLDER).await?;
    let name = |file: &String| file.strip_suffix(".json").or_else(|| file.strip_suffix(".onnx")).map(str::to_string);
    Ok(files.iter().filter_map(name).collect())
}

/// Keeps a model in the lake.
pub async fn keep(lake: &Lake, name: &str, text: String) -> Result<()> {
    Ok(lake.put_file(&format!("{FOLDER}/{name}.json"), text.into_bytes()).await?)
}
