//! The floors of the house: each names only those below it.

use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The crates, and which of the others each may name.
const FLOORS: [(&str, &str, &[&str]); 8] = [
    ("udfs", "tallow-udfs", &[]),
    ("src/common", "tallow-common", &[]),
    ("src/engine", "tallow-engine", &["tallow-udfs", "tallow-common"]),
    ("src/lake", "tallow-lake", &["tallow-udfs", "tallow-common"]),
    ("src/pipeline", "tallow-pipeline", &["tallow-udfs", "tallow-common", "tallow-engine", "tallow-lake"]),
    ("src/live", "tallow-live", &["tallow-udfs", "tallow-common", "tallow-engine", "tallow-lake", "tallow-pipeline"]),
    ("src/serve", "tallow-serve", &["tallow-common", "tallow-engine", "tallow-pipeline", "tallow-live"]),
    (
        ".",
        "tallow",
        &[
            "tallow-udfs",
            "tallow-common",
            "tallow-engine",
            "tallow-lake",
            "tallow-pipeline",
            "tallow-live",
            "tallow-serve",
        ],
    ),
];

#[test]
fn no_floor_names_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, name, below) in FLOORS {
        let text = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(name));
        let named: BTreeSet<&str> = manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
        let ours: Vec<&str> = named.into_iter().filter(|n| n.starts_with("tallow-") && !below.contains(n)).collect();
        assert!(ours.is_empty(), "{name} must not name {ours:?}");
    }
}

#[test]
fn every_crate_is_a_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members: Vec<&str> =
        manifest["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    let floors: Vec<&str> = FLOORS.iter().map(|(folder, ..)| *folder).filter(|f| *f != ".").collect();
    assert_eq!(members, floors);
}

/// Below the doors, a message speaks of "the option `from`" and "the operation `tables`": each door says how its user gives
/// these, as `src/cli/wording.rs` does.
#[test]
fn no_message_below_the_doors_names_a_flag_or_a_command() {
    let command = Regex::new(
        "`tallow [a-z]|\\btallow (check|describe|explain|formula|functions|history|ingest|label|levels|match|optimize|pattern|query|\
         report|resample|run|scan|synth|tables|vacuum|validate)\\b",
    )
    .unwrap();
    let flag = Regex::new(r"(^|[^-\w])--[a-z]|[ `]-[a-z] [A-Z]").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![];
    for (folder, ..) in FLOORS.iter().filter(|(folder, ..)| *folder != ".") {
        let folder = root.join(folder);
        let sources = if folder.join("src").is_dir() { folder.join("src") } else { folder };
        let files = rust_files(&sources);
        assert!(!files.is_empty(), "{}: no sources", sources.display());
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for (i, line) in text.lines().enumerate() {
                let is_remark = line.trim_start().starts_with("//");
                if command.is_match(line) || (!is_remark && flag.is_match(line)) {
                    found.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
