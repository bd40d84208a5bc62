//! Where tokens come from: a file, the OAuth 2.0 JWT bearer flow, or memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderValue;

use super::jwt;
use super::state::{Failure, Fetched, POLL_INTERVAL};
use crate::base::files;
use crate::salesforce::route::{Route, TOKEN_FILE};
use crate::salesforce::settings::{Auth, Places};

/// A source of tokens, and the means to ask it.
#[derive(Clone)]
pub(in crate::salesforce) struct Source {
    pub(in crate::salesforce) auth: Auth,
    pub(in crate::salesforce) http: reqwest::Client,
    pub(in crate::salesforce) timeout: Duration,
    /// The way to the token endpoint.
    pub(in crate::salesforce) route: Route,
    pub(in crate::salesforce) places: Places,
}

impl Source {
    /// Whether it is read again every second.
    pub(super) fn polls(&self) -> bool {
        matches!(self.auth, Auth::TokenFile(_))
    }

    /// Asks for a token, once.
    pub(in crate::salesforce) async fn fetch(&self) -> Result<Fetched, Failure> {
        let fetched = tokio::time::timeout(self.timeout, self.fetch_unbounded()).await;
        fetched.unwrap_or_else(|_| {
            Err(Failure::new(match &self.auth {
                Auth::JwtBearer(_) => self.route.no_answer("no token in time"),
                _ => "no token in time".to_owned(),
            }))
        })
    }

    async fn fetch_unbounded(&self) -> Result<Fetched, Failure> {
        match &self.auth {
            Auth::Cached => Err(Failure::new("credentials are cached, not fetched")),
            Auth::Fixed(secret) => Ok(Fetched { bearer: bearer(secret.expose())?, refresh_after: None, life: None }),
            Auth::TokenFile(path) => {
                let file = read(&self.places.before(TOKEN_FILE), path.clone(), files::TOKEN_FILE_BYTES_MAX).await?;
                let text = String::from_utf8_lossy(&file);
                let key = self.places.before(TOKEN_FILE);
                let named = |failure: Failure| Failure::new(format!("{key} {}: {}", path.display(), failure.text));
                Ok(Fetched { bearer: bearer(&text).map_err(named)?, refresh_after: Some(POLL_INTERVAL), life: None })
            }
            Auth::JwtBearer(jwt) => {
                // Read each time, so that a new key needs no restart.
                let Self { http, timeout, route, places, .. } = self;
                let endpoint = jwt::Endpoint { http, timeout: *timeout, route, places };
                let key = places.before(jwt::PRIVATE_KEY_FILE);
                let file = read(&key, jwt.private_key_file.clone(), files::KEY_FILE_BYTES_MAX).await?;
                let (token, life) = jwt::exchange(jwt, file, endpoint).await?;
                Ok(Fetched { bearer: bearer(&token)?, refresh_after: Some(life / 5 * 4), life: Some(life) })
            }
        }
    }
}

pub(in crate::salesforce) fn bearer(text: &str) -> Result<HeaderValue, Failure> {
    // What an editor may put first, of which nothing is to be seen.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with(['{', '[', '"', '<']) {
        let what = if text.starts_with('<') { "a page of HTML or XML" } else { "JSON" };
        return Err(Failure::new(format!(
            "this is {what}, not a token; expected the access token alone, such as `jq -r .access_token` prints it"
        )));
    }
    if text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")) {
        return Err(Failure::new("expected the token alone, without `Bearer`"));
    }
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!("a token is 1 to {TOKEN_BYTES_MAX} visible ASCII characters; this is not")));
    }
    let value = HeaderValue::try_from(format!("Bearer {text}"));
    let mut value = value.map_err(|_| Failure::new("the token can't be a header's value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the file at `path` brings a token.
pub(crate) fn check_token_file(path: &Path) -> Result<(), String> {
    let name = path.display();
    let file = files::read(path, files::TOKEN_FILE_BYTES_MAX).map_err(|error| format!("can't read {name}: {error}"))?;
    bearer(&String::from_utf8_lossy(&file)).map(drop).map_err(|failure| format!("{name}: {}", failure.text))
}

/// Read off the async threads: the file may be on a slow file system.
async fn read(key: &str, path: PathBuf, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let name = path.display().to_string();
    match tokio::task::spawn_blocking(move || files::read(&path, bytes_max)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::new(format!("{key} {name} can't be read: {error}"))),
        Err(_) => Err(Failure::new(format!("reading {key} {name} broke off"))),
    }
}

/// Access tokens that are JWTs have about two thousand bytes; servers take heads of 8 to 32 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_bounded_visible_ascii_and_never_printed() {
        let value = bearer(" abc.def\n").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer abc.def");
        assert!(!format!("{value:?}").contains("abc"), "{value:?}");
        assert!(bearer(&"x".repeat(TOKEN_BYTES_MAX)).is_ok());
        for (whole, words) in [
            (r#"{"access_token":"x"}"#, "this is JSON, not a token"),
            ("\"x\"", "this is JSON"),
            ("<html>", "this is a page of HTML"),
            ("Bearer x", "without `Bearer`"),
        ] {
            let why = bearer(whole).unwrap_err().text;
            assert!(why.contains(words), "{whole}: {why}");
        }
        for wrong in ["", " \n", "a b", "a\nb", "é", "a\u{0}", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }
}
