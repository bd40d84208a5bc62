//! What is wrong with a configuration, and where a setting came from.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a setting came from, in the order in which problems are reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file.
    File {
        /// As the operator named it.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// Sockets that were passed to the process.
    Sockets,
    /// A flag of this name, `--listen`.
    Flag(&'static str),
    /// A change of the running daemon.
    Live,
    /// It is not set.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Sockets => f.write_str("sockets passed by systemd"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Live => f.write_str("changed while running"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong: a single line that names the place, the key, the value, and what is expected.
///
/// It never holds the value of an unknown key or anything that looks like a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the wrong value is; [`Origin::Default`] for what is missing.
    pub origin: Origin,
    line: String,
}

impl Problem {
    /// A problem with what is at `origin`.
    pub(super) fn at(origin: &Origin, text: impl fmt::Display) -> Self {
        // The caller who requested a change knows where it came from.
        let line = if *origin == Origin::Live { text.to_string() } else { format!("{origin}: {text}") };
        Self { origin: origin.clone(), line }
    }

    /// Puts problems in the order in which they are reported.
    pub fn sort(problems: &mut [Self]) {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    }

    /// A syntax error.
    pub(super) fn syntax(path: &Path, (line, column): (usize, usize), message: &str) -> Self {
        let origin = Origin::File { path: path.to_owned(), line };
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { line: format!("{origin}:{column}: {message}"), origin }
    }

    /// Something is missing; in `file`, if a file was read.
    pub(super) fn missing(file: Option<&Path>, text: impl fmt::Display) -> Self {
        let line = match file {
            Some(path) => format!("{}: {text}", path.display()),
            None => format!("no configuration file: {text}"),
        };
        Self { origin: Origin::Default, line }
    }

    /// A file that can't be read, named at `origin`.
    pub(super) fn unreadable(origin: Origin, path: &Path, why: &str) -> Self {
        let place = if origin == Origin::Default { String::new() } else { format!("{origin}: ") };
        Self { origin, line: format!("{place}can't read the configuration file {}: {why}", path.display()) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path may hold a line break; a problem is one line all the same.
        self.line
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") })
    }
}

impl std::error::Error for Problem {}
