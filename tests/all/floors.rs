//! The floors of the house: each names only those below it.

use std::collections::BTreeSet;
use std::path::Path;

/// The crates, and which of the others each may name.
const FLOORS: [(&str, &str, &[&str]); 6] = [
    ("udfs", "tallow-udfs", &[]),
    ("src/common", "tallow-common", &[]),
    ("src/engine", "tallow-engine", &["tallow-udfs", "tallow-common"]),
    ("src/lake", "tallow-lake", &["tallow-udfs", "tallow-common"]),
    ("src/pipeline", "tallow-pipeline", &["tallow-udfs", "tallow-common", "tallow-engine", "tallow-lake"]),
    (".", "tallow", &["tallow-udfs", "tallow-common", "tallow-engine", "tallow-lake", "tallow-pipeline"]),
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
