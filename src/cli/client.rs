//! A running daemon, as the commands that call one meet it: where it is, the token it asks for, and what its operator
//! is told when it is out of reach or says no.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::base::text::{printable, root_cause};
use crate::http::{Address, read_token};

/// A daemon that does not answer for this long is taken for gone.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest answer that is read as a whole: the timing of 2,000 channels whose every character has to be escaped
/// comes to 10 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How much of an answer that nobody expected is repeated.
const SAID_CHARS_MAX: usize = 200;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RemoteArgs {
    /// The daemon: http://host:port, with the path that a proxy gives it if any, or unix:/path
    #[arg(long, value_name = "URL", env = "TYPINGD_URL", default_value = "http://127.0.0.1:7480")]
    pub url: Place,
    /// The file of the bearer token that the daemon asks for
    #[arg(long, value_name = "FILE", env = "TYPINGD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// Where a daemon listens: the address that its paths are appended to, and the socket to reach it by if that is no
/// address of the network.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    base: Url,
    socket: Option<PathBuf>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = |text| Url::parse(text).map_err(|e| format!("{e}; http://host:port or unix:/path is right"));
        if text.starts_with("unix:") {
            let Address::Unix(path) = text.parse()? else { return Err("is no path".to_owned()) };
            return Ok(Self { base: url("http://typingd")?, socket: Some(path) });
        }
        let base = url(text)?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err("http://host:port, https://host or unix:/path is right".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("an address without query and fragment is right".to_owned());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("an address without user name and password is right; --token-file names a token".to_owned());
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
pub(crate) struct Remote {
    http: reqwest::Client,
    place: Place,
    token: Option<HeaderValue>,
}

impl fmt::Debug for Remote {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.place)
    }
}

/// What a daemon said, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it did what was asked.
    pub status: StatusCode,
    /// What it said.
    pub body: String,
    place: String,
}

impl Remote {
    /// Reads the token; nobody is called yet.
    ///
    /// # Errors
    /// One sentence on the token's file.
    pub(crate) fn new(args: &RemoteArgs) -> Result<Self, String> {
        let token = args.token_file.as_deref().map(|path| read_token("--token-file", path)).transpose()?;
        let header = |token: String| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        // Whoever is redirected would not know whom it has told what.
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = match &args.url.socket {
            Some(path) => http.unix_socket(path.as_path()),
            None => http,
        };
        Ok(Self {
            http: http.build().map_err(|e| e.to_string())?,
            place: args.url.clone(),
            token: token.map(header).transpose()?,
        })
    }

    /// Where it is, as people write it.
    #[must_use]
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// A request for what is at `path`, its parts not encoded yet, below the daemon's address. A part must be neither
    /// `.` nor `..`, which can't be said in a URL.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
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

    /// Sends a request, and waits for the whole answer, whatever it says.
    ///
    /// # Errors
    /// One sentence: the daemon is out of reach, or lets nobody in without the right token.
    pub(crate) async fn call(&self, request: RequestBuilder) -> Result<Answer, String> {
        self.call_within(ANSWER_MAX, request).await
    }

    /// As [`Remote::call`], for what may take as long as `patience`.
    ///
    /// # Errors
    /// As those of [`Remote::call`].
    pub(crate) async fn call_within(&self, patience: Duration, request: RequestBuilder) -> Result<Answer, String> {
        let all = async { self.read(self.send(request).await?).await };
        tokio::time::timeout(patience, all).await.map_err(|_| self.silence(patience))?
    }

    /// Sends a request whose answer has no end, and waits for its beginning only.
    ///
    /// # Errors
    /// One sentence: the daemon is out of reach, or does not do it.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, String> {
        let begun = async {
            let response = self.send(request).await?;
            match response.status().is_success() {
                true => Ok(response),
                false => Err(self.read(response).await?.refusal()),
            }
        };
        tokio::time::timeout(ANSWER_MAX, begun).await.map_err(|_| self.silence(ANSWER_MAX))?
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        let response = request.send().await.map_err(|e| {
            let place = &self.place;
            format!("{place} can't be reached: {}; is the daemon running there? (--url says where)", root_cause(&e))
        })?;
        match (response.status(), &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                Err(format!("{} asks for a bearer token; name its file with --token-file", self.place))
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                Err(format!("{} does not take the token of --token-file", self.place))
            }
            _ => Ok(response),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Answer, String> {
        let place = self.place.to_string();
        let mut body = Vec::new();
        while let Some(piece) =
            response.chunk().await.map_err(|e| format!("{place} broke off its answer: {}", root_cause(&e)))?
        {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(format!("{place} answers with more than {} MiB; is that typingd?", ANSWER_BYTES_MAX >> 20));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: response.status(), body: String::from_utf8_lossy(&body).into_owned(), place })
    }

    fn silence(&self, patience: Duration) -> String {
        let place = &self.place;
        format!("{place} has not answered for {} s; is it typingd that listens there?", patience.as_secs())
    }
}

impl Answer {
    /// What to tell of an answer that is not the one hoped for.
    #[must_use]
    pub(crate) fn refusal(&self) -> String {
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
    fn what_is_no_address_of_a_daemon_is_told_so() {
        for (text, words) in [
            ("nowhere", "http://host:port"),
            ("ftp://h", "https://host or unix:/path is right"),
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
