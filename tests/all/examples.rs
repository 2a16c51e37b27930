//! The example programs run, over the sample, and show something.

use std::path::PathBuf;
use std::process::Command;

/// Where cargo puts an example that it builds beside these tests.
fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "{} is not built: cargo build --release --examples", example.display());
    example
}

#[test]
fn every_example_runs_and_shows_its_result() {
    for (name, shown) in [
        ("screen", &["| symbol |", "percent_above_sma200", "10 stocks"][..]),
        ("training_set", &["| fold | rows ", "mean_label"]),
        ("own_function", &["| symbol |", " streak |"]),
        ("own_table_provider", &["| ABC ", "| DEFGH ", "| IJ ", " atr(14)"]),
        ("dataframe_pipeline", &["| symbol |", " bars |", " turnover"]),
    ] {
        let done = Command::new(built(name)).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let printed = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        for part in shown {
            assert!(printed.contains(part), "{name} does not show `{part}`:\n{printed}");
        }
    }
}

#[test]
fn every_example_is_built_and_run() {
    let root = env!("CARGO_MANIFEST_DIR");
    let manifest: toml::Table = std::fs::read_to_string(format!("{root}/Cargo.toml")).unwrap().parse().unwrap();
    let listed = manifest["example"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap().to_string());
    let listed: std::collections::BTreeSet<String> = listed.collect();
    let files = std::fs::read_dir(format!("{root}/tests/examples")).unwrap();
    let files = files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    assert_eq!(listed, files.collect());
    let here = include_str!("examples.rs");
    assert!(listed.iter().all(|name| here.contains(&format!("(\"{name}\", "))), "{listed:?}");
}
