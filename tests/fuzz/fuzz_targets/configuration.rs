//! A configuration: settings or problems; what is printed as in force reads back to the same. Lines that begin with an
//! exclamation mark are variables of the environment.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use typingd::config::{Overrides, load};

/// In memory, where there is such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    directory.join(format!("typingd-fuzz-{}.toml", std::process::id()))
});

fn overrides(text: &str) -> Overrides {
    let (variables, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('!'));
    std::fs::write(&*FILE, lines.join("\n")).expect("the file can be written");
    let environment = variables.iter().filter_map(|line| line[1..].split_once('='));
    Overrides {
        file: Some(FILE.clone()),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        sandbox: text.len() % 2 == 0,
        ..Overrides::default()
    }
}

fuzz_target!(|text: &str| {
    let given = overrides(text);
    match load(&given) {
        Ok(config) => {
            let effective = config.effective();
            let again = load(&Overrides { sandbox: given.sandbox, ..overrides(&effective) });
            let again = again.unwrap_or_else(|problems| panic!("{problems:?}\n{effective}"));
            let settings = |text: &str| {
                let line = |line: &str| line.split("  # ").next().unwrap_or_default().trim_end().to_owned();
                text.lines().map(line).collect::<Vec<_>>()
            };
            assert_eq!(settings(&again.effective()), settings(&effective));
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.to_string().is_empty()))
        }
    }
    let _ = std::fs::remove_file(&*FILE);
});
