//! Who may call: callers that show the bearer token, where one is configured. And the file that holds it, on either side.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::socket::ViaUnix;
use crate::base::files;

/// The bearer tokens of which callers must show one, if any is configured. Clones share them.
#[derive(Clone, Default)]
pub struct TokenAuth(Arc<RwLock<Tokens>>);

#[derive(Default)]
struct Tokens {
    /// Any of these opens; none: callers need none.
    accepted: Vec<Arc<str>>,
    /// That of callers who may do less.
    lesser: Option<Arc<str>>,
}

impl TokenAuth {
    /// Asks callers for `token`, if there is one.
    pub fn new(token: Option<&str>) -> Self {
        let auth = Self::default();
        auth.renew(token, None);
        auth
    }

    /// Replaces the tokens. Requests that have been let in go on.
    fn renew<'a>(&self, accepted: impl IntoIterator<Item = &'a str>, lesser: Option<&str>) {
        let tokens =
            Tokens { accepted: accepted.into_iter().map(Into::into).collect(), lesser: lesser.map(Into::into) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 401, when the request shows no token, or another; 403 when it shows that of callers who may do less.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let tokens = self.tokens();
        let Tokens { accepted, lesser } = &*tokens;
        if accepted.is_empty() {
            return Ok(());
        }
        let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
        let (scheme, shown) = shown.split_at(shown.len().min("Bearer ".len()));
        let refuse = |status, detail| Err(Problem::new(status, detail));
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return refuse(StatusCode::UNAUTHORIZED, "expected the bearer token: Authorization: Bearer …");
        }
        // Any number of spaces may stand between (RFC 9110, section 11.4).
        let shown = shown.trim_ascii_start();
        if accepted.iter().any(|token| is_same(shown, token)) {
            return Ok(());
        }
        if lesser.as_ref().is_some_and(|lesser| is_same(shown, lesser)) {
            return refuse(
                StatusCode::FORBIDDEN,
                "the token shown is that of ingest.token_file; this call takes that of admin.token_file",
            );
        }
        refuse(
            StatusCode::UNAUTHORIZED,
            "expected the bearer token that opens this address; the one shown is another, perhaps an older one",
        )
    }

    /// Whether a request shows one of the tokens, that of callers who may do less included, in whatever form and beside
    /// whatever else: the last word of an `Authorization`.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let tokens = self.tokens();
        let Tokens { accepted, lesser } = &*tokens;
        // Where callers need none, Salesforce's long ones need not be read.
        let any = !(accepted.is_empty() && lesser.is_none());
        any && headers.get_all(header::AUTHORIZATION).iter().any(|value| {
            let shown = value.as_bytes().trim_ascii().rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
            accepted.iter().chain(lesser).any(|token| is_same(shown, token))
        })
    }

    /// Whether callers need no token.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens().accepted.is_empty()
    }
}

/// Compared in constant time: how long a comparison takes must not tell how much of a guess was right.
fn is_same(shown: &[u8], token: &str) -> bool {
    bool::from(shown.ct_eq(token.as_bytes()))
}

/// The tokens in the files of `ingest.token_file` and `admin.token_file`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct CallerTokens {
    pub(crate) ingest: Option<String>,
    pub(crate) admin: Option<String>,
}

/// Who may call what. Clones share the tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    /// Before signals, and before what only reports on the addresses of ingest: open without `ingest.token_file`.
    pub(crate) ingest: TokenAuth,
    /// Before what changes, records or watches: asks for admin's token; without `admin.token_file` for that of ingest.
    pub(crate) admin: TokenAuth,
    /// Takes either token, and is open only where there is neither.
    pub(crate) either: TokenAuth,
}

impl Gates {
    pub(crate) fn new(tokens: &CallerTokens) -> Self {
        let gates = Self::default();
        gates.renew(tokens);
        gates
    }

    /// Replaces the tokens.
    pub(crate) fn renew(&self, tokens: &CallerTokens) {
        let (ingest, admin) = (tokens.ingest.as_deref(), tokens.admin.as_deref());
        self.ingest.renew(ingest.into_iter().chain(ingest.and(admin)), None);
        self.admin.renew(admin.or(ingest), admin.and(ingest));
        self.either.renew(ingest.into_iter().chain(admin), None);
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

/// The same, and lets requests on whose caller may send this process a signal: for what a signal can bring about, too.
pub(crate) async fn require_token_or_signaller(
    State(auth): State<TokenAuth>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !ViaUnix::may_signal(&request) {
        auth.check(request.headers())?;
    }
    Ok(next.run(request).await)
}

/// Lets requests on whose caller may send this process a signal; any other caller is to call the addresses of operators.
pub(crate) async fn require_signaller(request: Request, next: Next) -> Result<Response, Problem> {
    match ViaUnix::may_signal(&request) {
        true => Ok(next.run(request).await),
        false => Err(Problem::of_operators()),
    }
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
