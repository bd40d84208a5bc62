//! The rules of the house that a machine can check: layers, the one clock, openings, lengths.

use std::path::{Path, PathBuf};

/// The longest file that is still one thing.
const LINES_MAX: usize = 600;
/// The longest function.
const FUNCTION_LINES_MAX: usize = 80;
/// Folders without clock, I/O and logs.
const PURE: [&str; 2] = ["engine", "fleet"];
/// What these may name, beside their own modules.
const PURE_NAMES: [&str; 5] = ["std::", "super::", "crate::model", "hashbrown::", "foldhash::"];

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    rust_files(&root, &mut found);
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
fn engine_and_fleet_name_only_std_the_model_and_the_table() {
    // Paths of crates that stand in the midst of code rather than in a `use`.
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let foreign: Vec<_> = manifest
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| format!("{}::", name.replace('-', "_"))))
        .filter(|name| !PURE_NAMES.contains(&name.as_str()))
        .collect();
    assert!(foreign.contains(&"tokio::".to_owned()), "{foreign:?}");
    for folder in PURE {
        names_only_what_is_pure(folder, &foreign);
    }
}

fn names_only_what_is_pure(folder: &str, foreign: &[String]) {
    let inside = |name: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let files: Vec<_> = sources().into_iter().filter(|(name, _)| inside(name)).collect();
    let own: Vec<_> = files
        .iter()
        .filter_map(|(name, _)| Some(format!("{}::", name.rsplit('/').next()?.strip_suffix(".rs")?)))
        .collect();
    assert!(own.len() > 5, "{own:?}");
    for (name, text) in &files {
        for (number, line) in code(text) {
            let used = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use "));
            let lawful = |path: &str| {
                // An enum's variants.
                path.starts_with(char::is_uppercase)
                    || PURE_NAMES
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
                    && !word.starts_with(&format!("crate::{folder}"));
                assert!(!strange && !outside, "src/{name}:{number}: {word}");
            }
        }
    }
}

#[test]
fn one_file_reads_the_clock() {
    for (name, text) in sources().iter().filter(|(name, _)| name != "base/clock.rs") {
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
        assert!(lines <= LINES_MAX, "src/{name} has {lines} lines; {LINES_MAX} are the most");
    }
}

/// The floors of the house, from the ground up: a folder imports only what stands before it.
const FLOORS: [&str; 20] = [
    "model",
    "base",
    "engine",
    "signals",
    "journal",
    "fleet",
    "store",
    "tune",
    "observe",
    "telemetry",
    "driver",
    "salesforce",
    "http",
    "drop_in",
    "config",
    "api",
    "console",
    "sandbox",
    "daemon",
    "cli",
];
/// What serves callers: none of these knows another.
const ADAPTERS: [&str; 4] = ["api", "console", "drop_in", "sandbox"];

/// A file of `src` without its tests: its path as a module, such as `["engine", "timing"]`, and its code.
fn modules() -> Vec<(Vec<String>, String)> {
    let own = sources().into_iter().filter(|(name, _)| !name.contains("tests"));
    own.map(|(name, text)| {
        let path = name.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect();
        let before_tests = text.split("\nmod tests {").next().unwrap();
        (path, code(before_tests).map(|(_, line)| format!("{line}\n")).collect())
    })
    .collect()
}

/// The paths that code names after `start`, with the braces of a `use` resolved one level deep.
fn paths_after(code: &str, start: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let words = |text: &str| -> Vec<String> {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        text[..end].split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    for (at, _) in code.match_indices(start) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + start.len()..];
        let path = words(rest);
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        match rest[end..].strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((inside, _)) if rest[..end].ends_with("::") || end == 0 => {
                for one in inside.split(',') {
                    found.push(path.iter().cloned().chain(words(one.trim())).collect());
                }
            }
            _ => found.push(path),
        }
    }
    found
}

#[test]
fn a_folder_imports_only_what_stands_below_it() {
    let floor = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    for (path, code) in modules() {
        let Some(own) = floor(&path[0]) else {
            assert!(["lib", "main", "build", "fuzz"].contains(&path[0].as_str()), "{path:?} is on no floor");
            continue;
        };
        for used in paths_after(&code, "crate::").iter().filter_map(|used| used.first()) {
            let Some(other) = floor(used) else { continue };
            let strangers =
                path[0] != *used && ADAPTERS.contains(&path[0].as_str()) && ADAPTERS.contains(&used.as_str());
            assert!(other <= own && !strangers, "{} imports {used}", path.join("/"));
        }
    }
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let modules = modules();
    let index = |path: &[String]| modules.iter().position(|(known, _)| known == path);
    let mut imports = vec![Vec::new(); modules.len()];
    for (own, (path, code)) in modules.iter().enumerate() {
        let parent = &path[..path.len() - 1];
        let starts = [("crate::", &[][..]), ("super::", parent), ("self::", path)];
        for (start, base) in starts {
            for used in paths_after(code, start) {
                let whole: Vec<_> = base.iter().cloned().chain(used).collect();
                // The longest part that is a file. A name that a parent hands on is its child's: no import of the parent.
                let file = (1..=whole.len()).rev().find_map(|length| index(&whole[..length]));
                imports[own].extend(file.filter(|file| *file != own && !path.starts_with(&modules[*file].0)));
            }
        }
    }
    assert!(imports.iter().map(Vec::len).sum::<usize>() > 200, "the imports are not found any more");
    // Whatever imports nothing that is left is taken away, until what is left are the circles.
    let mut left: Vec<_> = (0..modules.len()).collect();
    loop {
        let before = left.len();
        let still = left.clone();
        left.retain(|one| imports[*one].iter().any(|used| still.contains(used)));
        if left.len() == before {
            break;
        }
    }
    // And what nothing imports that is left.
    loop {
        let before = left.len();
        let still = left.clone();
        left.retain(|one| still.iter().any(|other| imports[*other].contains(one)));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<_> = left.iter().map(|one| modules[*one].0.join("/")).collect();
    assert!(circles.is_empty(), "in circles: {circles:?}");
}

#[test]
fn every_dependency_is_named_by_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let named = |folders: &[&str], dependency: &str| {
        let name = dependency.replace('-', "_");
        let mut found = Vec::new();
        folders.iter().for_each(|folder| rust_files(&root.join(folder), &mut found));
        let uses = |line: &str| {
            line.match_indices(&name).any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + name.len()..]);
                !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
                    && (after.starts_with("::") || (before.ends_with("use ") && after.starts_with([';', ' '])))
            })
        };
        found.iter().any(|file| code(&std::fs::read_to_string(file).unwrap()).any(|(_, line)| uses(line)))
    };
    for (table, folders) in [("dependencies", &["src"][..]), ("dev-dependencies", &["src", "tests", "benches"])] {
        for dependency in manifest[table].as_table().unwrap().keys() {
            assert!(named(folders, dependency), "{dependency} of [{table}] is named nowhere in {folders:?}");
        }
    }
}

#[test]
fn names_of_tests_are_sentences_of_at_most_sixty_characters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            match name {
                Some(name) if is_test => assert!(name.len() <= 60, "{}: {name}", file.display()),
                _ => {}
            }
            is_test = line.starts_with("#[test") || line.starts_with("#[tokio::test") || (is_test && name.is_none());
        }
    }
}

#[test]
fn no_function_is_longer_than_a_screen_or_two() {
    for (name, text) in sources().iter().filter(|(name, _)| !name.contains("tests")) {
        let lines: Vec<_> = text.split("\nmod tests {").next().unwrap().lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let bare = line.trim_start();
            let indent = &line[..line.len() - bare.len()];
            let words = bare.split("fn ").next().unwrap();
            let is_function = bare.contains("fn ")
                && !bare.starts_with("//")
                && words.split_whitespace().all(|word| {
                    ["async", "const", "pub"].contains(&word) || (word.starts_with("pub(") && word.ends_with(')'))
                });
            if is_function && !bare.ends_with('}') {
                let end = lines[at..].iter().position(|line| *line == format!("{indent}}}"));
                let length = end.map_or(0, |end| end + 1);
                assert!(length <= FUNCTION_LINES_MAX, "src/{name}:{}: {length} lines: {bare}", at + 1);
            }
        }
    }
}
