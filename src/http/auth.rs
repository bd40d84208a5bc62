//! Who may call: callers that show the bearer token, where one is configured. And the file that holds it, on either side.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::base::files;

/// The bearer token that callers must show, if one is configured. Clones share it.
#[derive(Clone, Default)]
pub struct TokenAuth(Arc<RwLock<Option<Arc<str>>>>);

impl TokenAuth {
    /// Asks callers for `token`, if there is one.
    #[must_use]
    pub fn new(token: Option<&str>) -> Self {
        let auth = Self::default();
        auth.renew(token);
        auth
    }

    /// Replaces the token. Requests that have been let in go on.
    pub(crate) fn renew(&self, token: Option<&str>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token.map(Into::into);
    }

    fn token(&self) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// # Errors
    /// 401, when the request shows no token, or another.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = self.token() else { return Ok(()) };
        let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let (scheme, shown) = shown.split_at(shown.len().min(7));
        // Compared in constant time: how long a comparison takes must not tell how much of a guess was right.
        if scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(shown.ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(Problem::new(StatusCode::UNAUTHORIZED, "expected the bearer token: Authorization: Bearer …"))
        }
    }

    /// Whether a request shows the token, in whatever form and beside whatever else: the last word of an
    /// `Authorization`.
    #[must_use]
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token() else { return false };
        headers.get_all(header::AUTHORIZATION).iter().any(|value| {
            let shown = value.as_bytes().trim_ascii().rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
            bool::from(shown.ct_eq(token.as_bytes()))
        })
    }

    /// Whether callers need no token.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.token().is_none()
    }
}

/// Lets requests on that show the token: a layer over routes, so that no handler can forget it.
pub(crate) async fn require_token(
    State(auth): State<TokenAuth>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    auth.check(request.headers())?;
    Ok(next.run(request).await)
}

/// The bearer token in the file `path`, which `name` has named.
///
/// # Errors
/// One sentence that names both: the file can't be read, or holds no single token.
pub(crate) fn read_token(name: &str, path: &Path) -> Result<String, String> {
    let fail = |what: &str| format!("{name} {}: {what}", path.display());
    let text = files::read_text(path, files::TOKEN_FILE_BYTES_MAX).map_err(|e| fail(&format!("can't be read: {e}")))?;
    match text.trim() {
        "" => Err(fail("is empty; expected one line with the token")),
        token if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(fail("holds more than one token; expected one line of visible ASCII")),
    }
}

impl std::fmt::Debug for TokenAuth {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_open() { "TokenAuth(open)" } else { "TokenAuth(token)" })
    }
}
