//! What this build is: its version, the commit it was built from, the features it was built with.

use std::sync::LazyLock;

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, with `-dirty` behind it if something had been changed since; `None` in an archive
/// without a repository, and in a build that is no release.
pub const COMMIT: Option<&str> = option_env!("COMMIT_OF_TYPINGD");

/// The optional parts that were built in.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "otlp")]
    "otlp",
];

/// All of it on one line, as `--version` says it: `0.1.0 (abc1234, features: otlp)`.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| describe(VERSION, COMMIT, FEATURES));
    &LINE
}

fn describe(version: &str, commit: Option<&str>, features: &[&str]) -> String {
    let features = (!features.is_empty()).then(|| format!("features: {}", features.join(", ")));
    let known: Vec<_> = commit.map(str::to_owned).into_iter().chain(features).collect();
    if known.is_empty() { version.to_owned() } else { format!("{version} ({})", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        for (commit, features, line) in [
            (None, &[][..], "0.1.0"),
            (Some("abc1234"), &[], "0.1.0 (abc1234)"),
            (None, &["otlp"], "0.1.0 (features: otlp)"),
            (Some("abc1234-dirty"), &["a", "b"], "0.1.0 (abc1234-dirty, features: a, b)"),
        ] {
            assert_eq!(describe("0.1.0", commit, features), line);
        }
    }
}
