//! Where tokens come from: a file, the OAuth 2.0 JWT bearer flow, or memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::HeaderValue;

use super::jwt;
use super::state::{Failure, Fetched, POLL_INTERVAL};
use crate::base::files;
use crate::salesforce::route::{Route, TOKEN_FILE, TOKEN_URL};
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
                let named = |failure: Failure| {
                    let key = places.before(TOKEN_URL);
                    Failure::new(format!("{key} {}: its access_token is none: {}", jwt.token_url, failure.text))
                };
                Ok(Fetched {
                    bearer: bearer(&token).map_err(named)?,
                    refresh_after: Some(life / 5 * 4),
                    life: Some(life),
                })
            }
        }
    }
}

pub(in crate::salesforce) fn bearer(text: &str) -> Result<HeaderValue, Failure> {
    // What an editor may put first, of which nothing is to be seen.
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Some(why) = no_token(text) {
        return Err(Failure::new(why));
    }
    let value = HeaderValue::try_from(format!("Bearer {text}"));
    let mut value = value.map_err(|_| Failure::new("the token can't be a header's value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why `text` is no token. It may be another secret, and is not repeated.
fn no_token(text: &str) -> Option<String> {
    const ALONE: &str = "expected the access token alone, such as `jq -r .access_token` prints it";
    let starts = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let why = if text.is_empty() {
        format!("it is empty; {ALONE}")
    } else if text == "null" {
        "this is JSON null, not a token: the answer held no access_token; its error says why".to_owned()
    } else if text.contains("-----BEGIN ") {
        format!("this is a PEM block (a key or a certificate), not a token; {ALONE}")
    } else if text.starts_with('<') {
        format!("this is a page of HTML or XML, not a token; {ALONE}")
    } else if text.starts_with(['{', '[', '"']) {
        format!("this is JSON, not a token; {ALONE}")
    } else if text.starts_with('\'') {
        "this is in single quotes; expected the access token without them".to_owned()
    } else if starts("access_token=") || starts("access_token:") || starts("token=") {
        "this begins with the token's name; expected the access token alone, without it".to_owned()
    } else if starts("bearer ") {
        "expected the token alone, without `Bearer`".to_owned()
    } else if text.lines().count() > 1 {
        format!("this has {} lines; expected the access token alone, on one", text.lines().count())
    } else if text.contains(char::is_whitespace) {
        "there is a space within it; expected the access token alone".to_owned()
    } else if text.len() > TOKEN_BYTES_MAX {
        format!("this has {} bytes; a token has at most {TOKEN_BYTES_MAX}", text.len())
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "a token is visible ASCII characters; this has others".to_owned()
    } else {
        return None;
    };
    Some(why)
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
            ("null\n", "this is JSON null, not a token: the answer held no access_token"),
            ("'abc'", "in single quotes"),
            ("access_token=abc", "begins with the token's name"),
            ("\n", "it is empty"),
            ("abc\ndef\n", "this has 2 lines"),
            ("abc def", "there is a space within it"),
            ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "this is a PEM block"),
            ("\u{e9}", "visible ASCII"),
        ] {
            let why = bearer(whole).unwrap_err().text;
            assert!(why.contains(words) && !why.contains("abc"), "{whole}: {why}");
        }
        for wrong in ["", " \n", "a b", "a\nb", "é", "a\u{0}", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }
}
