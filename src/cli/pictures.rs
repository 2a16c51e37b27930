//! Charts as pictures.

use super::Failure;
use crate::Error;
use crate::pipeline::report::{Figure, png};
use std::path::Path;

/// Makes the folder of pictures, if there are to be any, before anything is computed.
pub(super) fn make_folder(folder: Option<&Path>) -> Result<(), Failure> {
    match folder {
        Some(folder) => Ok(std::fs::create_dir_all(folder).map_err(|e| Error::File(folder.display().to_string(), e))?),
        None => Ok(()),
    }
}

/// Writes drawings into a folder, numbered in their order.
pub(super) fn write<'a>(figures: impl Iterator<Item = &'a Figure>, folder: &Path) -> Result<(), Failure> {
    for (i, figure) in figures.enumerate() {
        let name: String =
            figure.title().chars().take(80).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let path = folder.join(format!("{:03}_{name}.png", i + 1));
        std::fs::write(&path, png(figure)?).map_err(|e| Error::File(path.display().to_string(), e))?;
    }
    Ok(())
}
