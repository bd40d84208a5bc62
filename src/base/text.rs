//! Text for people.

use std::error::Error;

/// The innermost cause of an error, which is the one that says something: `connection refused` rather than `client error`.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
