//! The values of the options in a call's query.

use axum::http::StatusCode;

use crate::http::Problem;
use crate::model::{CHANNEL_CHARS_MAX, USER_CHARS_MAX, check_id};

/// The parsed value of the option `name`, which was given as `text`.
///
/// # Errors
/// 400, which names the place, the value and what is expected.
pub(super) fn value<T>(name: &str, text: &str, parsed: Option<T>, expected: &str) -> Result<T, Problem> {
    parsed.ok_or_else(|| bad(unexpected(name, text, expected)))
}

/// What is wrong with the value `text` of `name`.
pub(super) fn unexpected(name: &str, text: &str, expected: &str) -> String {
    format!("`{name}` is \"{}\"; expected {expected}", cut(text, VALUE_CHARS_MAX).escape_debug())
}

/// What is wrong with an option that is not known.
pub(super) fn unknown(name: &str, expected: &str) -> String {
    format!("unknown option `{}`, expected {expected}", cut(name, VALUE_CHARS_MAX))
}

/// What is wrong with a repeated option, if there is one.
pub(super) fn repeated(options: &[(String, String)]) -> Option<String> {
    let mut others = options.iter().enumerate();
    let (_, (name, _)) = others.find(|(place, (name, _))| options[..*place].iter().any(|(other, _)| other == name))?;
    Some(format!("repeated option `{}`", cut(name, VALUE_CHARS_MAX)))
}

/// A channel's address, or an end user's id, in the option `name`.
pub(super) fn id(name: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    if let Some(value) = &value {
        if let Some(number) = value.strip_prefix(' ').filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        {
            let number = cut(number, VALUE_CHARS_MAX);
            let detail = format!(
                "`{name}` begins with a space, as which a + in a query is read: a + is written %2B, as in {name}=%2B{}",
                number.escape_debug()
            );
            return Err(bad(detail));
        }
        let chars_max = if name == "to" { CHANNEL_CHARS_MAX } else { USER_CHARS_MAX };
        check_id(value, chars_max).map_err(|error| bad(format!("`{name}` {error}")))?;
    }
    Ok(value)
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// How much of an unknown name or an unexpected value is repeated.
const VALUE_CHARS_MAX: usize = 40;
