//! Command lines that can't be understood, where clap's own message would leave the reader guessing.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::Cli;

/// What other programs call some of the commands.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("start", "run"),
    ("serve", "run"),
    ("stop", "shutdown"),
    ("watch", "tap"),
    ("validate", "check"),
    ("show", "status"),
];
/// Variables that stand for an option, and what they hold.
const VARIABLES: [(&str, &str, &str); 2] = [
    ("TYPINGD_URL", "--url", "http://host:port or unix:/path"),
    ("TYPINGD_TOKEN_FILE", "--token-file", "the path of a file"),
];

/// The sentence for an option's value that is empty or wrong because a variable is; `None` if that is not the error.
pub(super) fn wrong_variable(
    error: &Error,
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return None };
    let (name, flag, expected) = VARIABLES.into_iter().find(|(_, flag, _)| option.split(' ').next() == Some(*flag))?;
    let is_flag = |argument: &OsString| argument.as_encoded_bytes().starts_with(flag.as_bytes());
    let value = variable(name).filter(|_| !arguments.iter().any(is_flag))?;
    if value == OsStr::new("") {
        return Some(format!("environment variable {name} is empty; expected {expected}, or no such variable"));
    }
    let why = std::error::Error::source(error).filter(|_| error.kind() == ErrorKind::ValueValidation)?;
    // A password in an address is not repeated.
    let value = value.to_string_lossy();
    let shown = if value.contains('@') { "is wrong".to_owned() } else { format!("is {value:?}") };
    Some(format!("environment variable {name} {shown}: {why}"))
}

/// Names the command that was most likely meant by an unknown one.
pub(super) fn suggest_command(error: &mut Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return };
    match nearest(word) {
        Some(near) => error.insert(ContextKind::SuggestedSubcommand, ContextValue::String(near)),
        None => error.remove(ContextKind::SuggestedSubcommand),
    };
}

fn nearest(word: &str) -> Option<String> {
    let cli = Cli::command();
    let names = cli.get_subcommands().map(|command| (command.get_name(), command.get_name()));
    let edits = |name: &str| strsim::osa_distance(word, name);
    let scored = names.chain(OTHER_NAMES).map(|(name, command)| (edits(name), name, command));
    // At most half of the letters may be wrong: short words are near each other by chance.
    let near = scored.filter(|(edits, name, _)| 2 * edits < name.len().max(2));
    near.min_by_key(|(edits, ..)| *edits).map(|(.., command)| command.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn an_unknown_command_points_at_the_nearest() {
        for (word, near) in [
            ("tpa", Some("tap")),
            ("statsu", Some("status")),
            ("checkk", Some("check")),
            ("ru", Some("run")),
            ("start", Some("run")),
            ("stop", Some("shutdown")),
            ("simulation", Some("simulate")),
            ("comands", None),
            ("x", None),
            ("keystroke", None),
        ] {
            assert_eq!(nearest(word).as_deref(), near, "{word}");
            let mut error = Cli::try_parse_from(["typingd", word]).unwrap_err();
            suggest_command(&mut error);
            let said = error.to_string();
            assert_eq!(said.contains("a similar subcommand exists: "), near.is_some(), "{said}");
            assert_eq!(said.contains("tip:"), near.is_some(), "{said}");
        }
    }

    #[test]
    fn a_wrong_variable_is_blamed_by_its_name() {
        for (value, told) in [
            (
                "nowhere",
                "environment variable TYPINGD_URL is \"nowhere\": relative URL without a base; expected http://host",
            ),
            ("http://u:p@h", "environment variable TYPINGD_URL is wrong: expected an address without user name"),
        ] {
            let error = Cli::try_parse_from(["typingd", "status", "--url", value]).unwrap_err();
            let said = wrong_variable(&error, &["status".into()], |_| Some(value.into())).unwrap();
            assert!(said.starts_with(told) && !said.contains("u:p"), "{said}");
            assert_eq!(wrong_variable(&error, &["status".into(), "--url".into()], |_| Some(value.into())), None);
        }
    }

    #[test]
    fn an_empty_variable_is_blamed_by_its_name() {
        let empty = |_: &str| Some(OsString::new());
        for (flag, name) in [("--url", "TYPINGD_URL"), ("--token-file", "TYPINGD_TOKEN_FILE")] {
            // As clap sees the variable.
            let error = Cli::try_parse_from(["typingd", "status", flag, ""]).unwrap_err();
            let told = wrong_variable(&error, &["status".into()], empty).unwrap();
            assert!(told.starts_with(&format!("environment variable {name} is empty; expected ")), "{told}");
            assert_eq!(wrong_variable(&error, &["status".into(), flag.into(), "".into()], empty), None);
            assert_eq!(wrong_variable(&error, &["status".into(), format!("{flag}=").into()], empty), None);
            assert_eq!(wrong_variable(&error, &["status".into()], |_| None), None);
        }
    }
}
