//! The options in a call's query.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The options of a call. Unknown and repeated ones are refused: what was meant can't be known.
pub(crate) struct Options<T>(pub(crate) T);

/// Of a call that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoOptions {}

impl<T: DeserializeOwned> Options<T> {
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        let Query(options) = Query::try_from_uri(uri)
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, refusal(&rejection.body_text())))?;
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
    error.replace("there are no fields", "expected none").chars().take(ERROR_CHARS_MAX).collect()
}

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
