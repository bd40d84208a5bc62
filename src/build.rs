//! The build script: which commit a release is built from. It is no module of the crate.
//!
//! A build that is neither a release nor told its commit has none: it would have to be built again after each.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=TYPINGD_COMMIT");
    let variable = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let told = variable("TYPINGD_COMMIT");
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = told.or_else(|| if is_release { commit_of_work_tree() } else { None });
    if let Some(commit) = commit {
        // Cargo hands it on to what it runs: so it must not begin like a key's variable.
        println!("cargo::rustc-env=COMMIT_OF_TYPINGD={}", commit.trim());
    }
}

/// The commit that is checked out here, and whether something of it has been changed since. `None` where there is no
/// repository: in an unpacked archive, also in one that lies within the work tree of something else.
fn commit_of_work_tree() -> Option<String> {
    let root = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let real = |path: &str| Path::new(path).canonicalize().ok();
    if real(&top)? != real(&root)? {
        return None;
    }
    // A checkout writes the first, a commit the second.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    const PARTS: [&str; 3] = ["src", "Cargo.toml", "Cargo.lock"];
    for part in PARTS {
        println!("cargo::rerun-if-changed={part}");
    }
    let commit = git(&["rev-parse", "--short=7", "HEAD"])?;
    let changed = git(&[&["status", "--porcelain", "--"], PARTS.as_slice()].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
