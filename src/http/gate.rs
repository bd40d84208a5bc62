//! Who may call: whoever shows the bearer token, where one is asked for.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use super::Problem;

/// Lets in callers that show the right bearer token, or everybody if none is asked for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gate(Option<Arc<str>>);

impl Gate {
    /// `token` is what callers must show, if anything.
    #[must_use]
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(Into::into))
    }

    /// Looks at the token that a request shows.
    ///
    /// # Errors
    /// 401, when it shows none or another.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.0 else { return Ok(()) };
        let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let (scheme, shown) = shown.split_at(shown.len().min(7));
        // Compared in constant time: how long a comparison takes must not tell how much of a guess was right.
        if scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(shown.ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed: Authorization: Bearer …"))
        }
    }
}

impl std::fmt::Debug for Gate {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Gate(token)" } else { "Gate(open)" })
    }
}
