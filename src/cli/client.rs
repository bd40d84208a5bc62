//! A running daemon, as the commands call it: its address, the token that it requires, and what the operator is told when
//! it can't be reached or refuses.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::base::text::{printable, root_cause};
use crate::http::{Address, read_token};

/// A daemon that does not answer for this long counts as gone.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest response that is read as a whole: the timing of 2,000 channels, each character escaped, is 10 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How much of an unexpected response is repeated.
const SAID_CHARS_MAX: usize = 200;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RemoteArgs {
    /// The daemon: http://host:port, with the path prefix of a proxy if any, or unix:/path
    #[arg(long, value_name = "URL", env = "TYPINGD_URL", default_value = "http://127.0.0.1:7480")]
    pub(super) url: Place,
    /// The file with the bearer token that the daemon requires
    #[arg(long, value_name = "FILE", env = "TYPINGD_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum AnswerFormat {
    /// For people
    Text,
    /// As the daemon sends it
    Json,
}

impl AnswerFormat {
    /// Prints `answer`, which came as `body`: for people as `describe` puts it.
    pub(super) fn print(self, answer: &Value, body: &str, describe: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Text => stdout.write_all(describe(answer).as_bytes())?,
            Self::Json => writeln!(stdout, "{body}")?,
        }
        stdout.flush()
    }
}

/// Where a daemon listens: the address that paths are appended to, and the Unix socket if it is one.
#[derive(Clone, Debug)]
pub(super) struct Place {
    base: Url,
    socket: Option<PathBuf>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("it is empty; expected http://host:port or unix:/path".to_owned());
        }
        if text.starts_with("unix:") {
            let Address::Unix(path) = text.parse()? else { return Err("is not a path".to_owned()) };
            let base = Url::parse("http://typingd").map_err(|e| e.to_string())?;
            return Ok(Self { base, socket: Some(path) });
        }
        let base = Url::parse(text).map_err(|e| format!("{e}; expected http://host:port or unix:/path"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err("expected http://host:port, https://host or unix:/path".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("expected an address without query and fragment".to_owned());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("expected an address without user name and password; --token-file names a token".to_owned());
        }
        Ok(Self { base, socket: None })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => f.write_str(self.base.as_str().trim_end_matches('/')),
        }
    }
}

/// A daemon that can be called.
pub(super) struct Remote {
    http: reqwest::Client,
    place: Place,
    token: Option<HeaderValue>,
}

/// A whole response.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    place: String,
}

impl Remote {
    /// Reads the token; nothing is sent yet.
    pub(super) fn new(args: &RemoteArgs) -> Result<Self, Failure> {
        let token = args.token_file.as_deref().map(|path| read_token("--token-file", path)).transpose()?;
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose();
        let mut token = token.map_err(|e| e.to_string())?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        // A redirect would send the request to another host than the one given.
        let mut http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &args.url.socket {
            http = http.unix_socket(path.as_path());
        }
        let http = http.build().map_err(|e| e.to_string())?;
        Ok(Self { http, place: args.url.clone(), token })
    }

    /// Where it is, as people write it.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A request for `path`, its segments not encoded yet, below the daemon's address. `.` and `..` can't be expressed as
    /// segments.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.place.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    /// Sends a request and waits for the whole response, whatever its status.
    pub(super) async fn call(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        self.call_within(ANSWER_MAX, request).await
    }

    pub(super) async fn call_within(&self, timeout: Duration, request: RequestBuilder) -> Result<Answer, Failure> {
        self.within(timeout, async { self.read(self.send(request).await?).await }).await
    }

    /// Sends a request whose response is JSON: the value, and the text as it was sent.
    pub(super) async fn json(&self, request: RequestBuilder) -> Result<(Value, String), Failure> {
        let answer = self.call(request).await?;
        match serde_json::from_str(&answer.body) {
            Ok(value) if answer.status.is_success() => Ok((value, answer.body)),
            _ => Err(answer.refusal().into()),
        }
    }

    /// Notes on stderr that this daemon is one of several, if it is: what others own is not to be had of it.
    pub(super) async fn note_if_several(&self) {
        let status = self.json(self.request(Method::GET, &["v1", "status"])).await;
        let members = status.ok().and_then(|(status, _)| status.pointer("/store/members")?.as_u64());
        if let Some(members) = members.filter(|members| *members > 1) {
            super::note(&format!(
                "this typingd, of {members} that share a store: conversations of the others are not in it"
            ));
        }
    }

    /// Sends a request whose response is a stream, and waits for its beginning.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let begun = async {
            let response = self.send(request).await?;
            match response.status().is_success() {
                true => Ok(response),
                false => Err(self.read(response).await?.refusal().into()),
            }
        };
        self.within(ANSWER_MAX, begun).await
    }

    async fn within<T>(&self, timeout: Duration, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let silent = || format!("{} has not answered for {} s; is it typingd?", self.place, timeout.as_secs());
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| Err(silent().into()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let place = &self.place;
        let response = request.send().await.map_err(|e| {
            format!("{place} can't be reached: {}; is the daemon running there? (--url names it)", root_cause(&e))
        })?;
        match (response.status(), &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                Err(format!("{place} requires a bearer token; name its file with --token-file").into())
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => Err(format!("{place} rejects the token of --token-file").into()),
            _ => Ok(response),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, Failure> {
        let place = self.place.to_string();
        let mut body = Vec::new();
        let broken = |e| format!("{place} broke off its response: {}", root_cause(&e));
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                let bound = ANSWER_BYTES_MAX >> 20;
                return Err(format!("{place} answers with more than {bound} MiB; is it typingd?").into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: response.status(), body: String::from_utf8_lossy(&body).into_owned(), place })
    }
}

impl Answer {
    /// What an unexpected response says.
    pub(super) fn refusal(&self) -> String {
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
        }
        let said = match serde_json::from_str::<Problem>(&self.body) {
            Ok(problem) => problem.detail,
            Err(_) => self.body.chars().take(SAID_CHARS_MAX).collect(),
        };
        format!("{} answered {}: {}", self.place, self.status, printable(&said).trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> Remote {
        Remote::new(&RemoteArgs { url: url.parse().unwrap(), token_file: None }).unwrap()
    }

    #[test]
    fn paths_go_below_the_address_each_part_encoded() {
        for (base, url) in [
            ("http://h:1", "http://h:1/v1/timing/a%2Fb%20%C3%BC%00%25"),
            ("http://h:1/", "http://h:1/v1/timing/a%2Fb%20%C3%BC%00%25"),
            ("https://h/side/car", "https://h/side/car/v1/timing/a%2Fb%20%C3%BC%00%25"),
            ("https://h/side/car/", "https://h/side/car/v1/timing/a%2Fb%20%C3%BC%00%25"),
            ("unix:/run/x", "http://typingd/v1/timing/a%2Fb%20%C3%BC%00%25"),
        ] {
            let request = remote(base).request(Method::GET, &["v1", "timing", "a/b ü\0%"]).build().unwrap();
            assert_eq!(request.url().as_str(), url, "{base}");
        }
    }

    #[test]
    fn other_addresses_are_rejected() {
        for (text, words) in [
            ("nowhere", "http://host:port"),
            ("", "it is empty; expected http://host:port"),
            ("ftp://h", "https://host or unix:/path"),
            ("http://h/?to=x", "without query"),
            ("http://h/#x", "without query and fragment"),
            ("http://u:p@h", "without user name and password"),
            ("unix:run/x", "an absolute path"),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(error.contains(words) && !error.contains("u:p"), "{text}: {error}");
        }
        for (text, shown) in [("http://h/p/", "http://h/p"), ("unix:/run/x", "unix:/run/x")] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_refusal_is_one_line_of_a_bearable_length() {
        let said = |body: &str| {
            let body = body.to_owned();
            Answer { status: StatusCode::BAD_REQUEST, body, place: "P".to_owned() }.refusal()
        };
        assert_eq!(said(r#"{"detail": "no\n\u001b[1m", "status": 400}"#), "P answered 400 Bad Request: no \u{fffd}[1m");
        let html = said(&"<p>\n".repeat(1_000));
        assert!(html.len() < 250 && !html.contains('\n'), "{html}");
    }
}
