//! The options in a call's query.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::Problem;
use crate::model::{CHANNEL_CHARS_MAX, USER_CHARS_MAX, check_id};

/// The options of a call. Unknown and repeated ones are refused: what was meant can't be known.
pub(super) struct Options<T>(pub(super) T);

/// Of a call that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

impl<T: DeserializeOwned> Options<T> {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(options) = Query::try_from_uri(uri).map_err(|rejection| bad(refusal(&rejection.body_text())))?;
        Ok(Self(options))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Options<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

/// What serde says of fields, said of options: `unknown field` becomes `unknown option`.
fn refusal(error: &str) -> String {
    let fault = ["unknown field", "duplicate field"].iter().find_map(|fault| error.find(fault));
    let error = &error[fault.unwrap_or_default()..];
    let error = error.replacen("duplicate", "repeated", 1).replacen("field", "option", 1);
    cut(&error.replace("there are no fields", "expected none"), ERROR_CHARS_MAX)
}

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
/// A few names, and the longest list of those that are known.
const ERROR_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Two {
        _to: Option<String>,
        _icon: Option<bool>,
    }

    #[test]
    fn what_is_wrong_with_an_option_is_said() {
        let detail = |query: &str| {
            let uri = format!("/?{query}").parse().unwrap();
            let problem = Options::<Two>::of(&uri).map(|Options(two)| two).unwrap_err();
            format!("{problem:?}")
        };
        for (query, said) in [
            ("page=2", "unknown option `page`, expected `_to` or `_icon`"),
            ("_to=a&_to=b", "repeated option `_to`"),
            ("_icon=yes", "_icon: provided string was not `true` or `false`"),
        ] {
            assert!(detail(query).contains(&format!("{said}\"")), "{}", detail(query));
        }
        let none = Options::<NoOptions>::of(&"/?verbose".parse().unwrap()).map(|_| ()).unwrap_err();
        assert!(format!("{none:?}").contains("\"unknown option `verbose`, expected none\""), "{none:?}");
    }
}
