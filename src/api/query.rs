//! The options in a call's query.

use std::borrow::Cow;

use axum::http::StatusCode;

use crate::http::Problem;
use crate::model::ChannelAddress;

/// The values of the options `names`, in their order.
///
/// # Errors
/// 400, for an option of another name, or one that is there twice.
pub(super) fn options<'q, const N: usize>(
    query: Option<&'q str>,
    names: [&str; N],
) -> Result<[Option<Cow<'q, str>>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let known = names.map(|name| format!("`{name}`")).join(", ");
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            return Err(bad(format!("there is no option `{name}`; these are: {known}")));
        };
        if values[place].replace(value).is_some() {
            return Err(bad(format!("`{name}` is there twice; once is right")));
        }
    }
    Ok(values)
}

/// The name of an option that is there twice, if one is: which of the two is meant can't be told.
pub(super) fn twice(options: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<String> {
    let mut others = options.iter().enumerate();
    let (_, (name, _)) = others.find(|(place, (name, _))| options[..*place].iter().any(|(other, _)| other == name))?;
    Some(name.chars().take(NAME_CHARS_MAX).collect())
}

/// A channel's address, or an end user's id, in the option `name`.
///
/// # Errors
/// 400, when it is empty or too long.
pub(super) fn id(name: &str, value: Option<Cow<'_, str>>) -> Result<Option<String>, Problem> {
    let Some(value) = value else { return Ok(None) };
    ChannelAddress::new(&value).map_err(|error| bad(format!("`{name}` {error}")))?;
    Ok(Some(value.into_owned()))
}

/// A refusal of options.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// How much of an unknown name is repeated.
pub(super) const NAME_CHARS_MAX: usize = 40;
