//! The rules of the house that a machine can check: layers, the one clock, openings, lengths.

use std::path::{Path, PathBuf};

/// The longest file that is still one thing.
const LINES_MAX: usize = 700;
/// Files that may be longer, each with its reason.
const LONG: [(&str, &str); 0] = [];
/// What `engine` may name, beside its own modules.
const ENGINE_NAMES: [&str; 5] = ["std::", "super::", "crate::model", "hashbrown::", "foldhash::"];

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    assert!(found.len() > 30, "{found:?}");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The lines of code, with their numbers: comments may name what they like.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

#[test]
fn the_engine_names_nothing_but_std_the_model_and_its_table() {
    let own: Vec<_> = sources()
        .iter()
        .filter_map(|(name, _)| Some(format!("{}::", name.strip_prefix("engine/")?.strip_suffix(".rs")?)))
        .collect();
    assert!(own.len() > 5, "{own:?}");
    // Paths of crates that stand in the midst of code rather than in a `use`.
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let foreign: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| format!("{}::", name.replace('-', "_"))))
        .filter(|name| !ENGINE_NAMES.contains(&name.as_str()))
        .collect();
    assert!(foreign.contains(&"tokio::".to_owned()), "{foreign:?}");
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("engine/")) {
        for (number, line) in code(text) {
            let used = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use "));
            let lawful = |path: &str| {
                // An enum's variants.
                path.starts_with(char::is_uppercase)
                    || ENGINE_NAMES
                        .iter()
                        .copied()
                        .chain(own.iter().map(String::as_str))
                        .any(|name| path.starts_with(name))
            };
            assert!(used.is_none_or(lawful), "src/{name}:{number}: {line}");
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            for word in words {
                let strange = foreign.iter().any(|name| word.starts_with(name.as_str()));
                let outside = word.starts_with("crate::")
                    && !word.starts_with("crate::model")
                    && !word.starts_with("crate::engine");
                assert!(!strange && !outside, "src/{name}:{number}: {word}");
            }
        }
    }
}

#[test]
fn one_file_reads_the_clock() {
    for (name, text) in sources().iter().filter(|(name, _)| name != "clock.rs") {
        for (number, line) in code(text) {
            for clock in ["Instant::now", "SystemTime::now", "Utc::now", "Local::now"] {
                assert!(!line.contains(clock), "src/{name}:{number}: {line}");
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_one_thing() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "src/{name} does not open with a sentence on what it is");
        let lines = text.lines().count();
        let long = LONG.iter().any(|(long, reason)| *long == name && !reason.is_empty());
        assert_eq!(lines > LINES_MAX, long, "src/{name} has {lines} lines; {LINES_MAX} are the most, or it is listed");
    }
}
