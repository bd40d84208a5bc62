//! Values: what stands in the file, an environment variable or a flag, and what it becomes.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use url::{Host, Url};

use crate::base::duration::{self, Written};
use crate::base::size;
use crate::http::Address;
use crate::salesforce::Proxy;

/// Which values of a key are right.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A time with its unit, in milliseconds.
    Time {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
    /// A number of bytes, or one with the unit `B`, `KiB`, `MiB` or `GiB`.
    Bytes {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A whole number.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A file or directory. Relative to the directory of the configuration file when it stands there, else to the
    /// working directory. `${CREDENTIALS_DIRECTORY}` is replaced.
    Path,
    /// `https`, or `http` to a loopback host, without credentials, query and fragment.
    Url,
    /// The address of an HTTP proxy, `http`, with or without credentials: these are not shown.
    Proxy,
    /// An IP address with a port.
    SocketAddress,
    /// The id of a Salesforce org.
    OrgId,
    /// A text that can be the value of an HTTP header.
    Header,
    /// A text that is not empty.
    Text,
    /// Listening addresses, at least one.
    Addresses,
}

/// A value as somebody wrote it.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    /// How it is written, and its value if that is a whole number from 0 on.
    Number(String, Option<u64>),
    Flag(bool),
    List(Vec<Raw>),
    Other(&'static str),
}

/// A value that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Time(Duration),
    Bytes(usize),
    Integer(u64),
    Flag(bool),
    Text(String),
    Path(PathBuf),
    Url(Url),
    Proxy(Proxy),
    SocketAddress(SocketAddr),
    Addresses(Vec<Address>),
}

/// What paths are read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// What relative paths are relative to.
    pub(super) directory: &'a Path,
    /// The value of `CREDENTIALS_DIRECTORY`.
    pub(super) credentials: Option<&'a str>,
}

impl Raw {
    /// What stands in the file.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(n) => Self::Number(n.to_string(), u64::from_str_radix(n.as_str(), n.radix()).ok()),
            DeValue::Float(n) => Self::Number(n.to_string(), None),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    /// What an environment variable or a flag holds for a key of `kind`: the same without TOML's quotes and brackets.
    pub(super) fn from_text(text: &str, kind: Kind) -> Self {
        match (kind, text) {
            (Kind::Addresses, _) => Self::List(text.split(',').map(|item| Self::Text(item.trim().into())).collect()),
            (Kind::Flag, "true" | "false") => Self::Flag(text == "true"),
            (Kind::Integer { .. } | Kind::Bytes { .. } | Kind::Time { .. }, _)
                if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Self::Number(text.into(), text.parse().ok())
            }
            _ => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Raw {
    /// For messages: on one line, cut to a bearable length, without anything that looks like a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if looks_secret(text) => f.write_str("(what looks like a secret)"),
            Self::Text(text) => write!(f, "{}", Quoted(&shortened(text))),
            Self::Number(text, _) => f.write_str(&shortened(text)),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(items) if items.len() > 4 => write!(f, "[{} items]", items.len()),
            Self::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Kind {
    /// The value that `raw` stands for, or how to show it and what would be right.
    pub(super) fn read(self, raw: &Raw, places: Places<'_>) -> Result<Value, (String, String)> {
        let shown = match (self, raw) {
            // A password in an address, or a token in its query, is not repeated.
            (Self::Url | Self::Proxy, Raw::Text(text)) if text.contains(['@', '?', '#']) => "(not shown)".to_owned(),
            _ => raw.to_string(),
        };
        self.value(raw, places).map_err(|right| (shown, right))
    }

    fn value(self, raw: &Raw, places: Places<'_>) -> Result<Value, String> {
        match (self, raw) {
            (Self::Time { min, max }, raw) => time(raw, min, max).map(Value::Time),
            (Self::Bytes { min, max }, raw) => bytes(raw, min, max).map(Value::Bytes),
            (Self::Integer { min, max }, Raw::Number(_, Some(n))) if (min..=max).contains(n) => Ok(Value::Integer(*n)),
            (Self::Integer { min, max }, _) => Err(format!("a whole number from {min} to {max} would be right")),
            (Self::Flag, Raw::Flag(flag)) => Ok(Value::Flag(*flag)),
            (Self::Flag, _) => Err("true or false would be right, without quotes".into()),
            (Self::OneOf(words), Raw::Text(text)) if words.contains(&text.as_str()) => Ok(Value::Text(text.clone())),
            (Self::OneOf(words), _) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                Err(format!("{} would be right", words.join(" or ")))
            }
            (Self::Addresses, Raw::List(items)) => addresses(items).map(Value::Addresses),
            (Self::Addresses, _) => Err(r#"a list would be right, ["127.0.0.1:7480"]"#.into()),
            (Self::Path, Raw::Text(text)) => path(text, places).map(Value::Path),
            (Self::Url, Raw::Text(text)) => url(text).map(Value::Url),
            (Self::Proxy, Raw::Text(text)) => Proxy::parse(text).map(Value::Proxy),
            (Self::SocketAddress, Raw::Text(text)) => socket_address(text).map(Value::SocketAddress),
            (Self::OrgId | Self::Header | Self::Text, Raw::Text(text)) => match self.accepts(text) {
                Ok(()) => Ok(Value::Text(text.clone())),
                Err(right) => Err(right.into()),
            },
            (
                Self::Path | Self::Url | Self::Proxy | Self::SocketAddress | Self::OrgId | Self::Header | Self::Text,
                _,
            ) => Err("a text in quotes would be right".into()),
        }
    }

    fn accepts(self, text: &str) -> Result<(), &'static str> {
        let (ok, right) = match self {
            Self::OrgId => (
                matches!(text.len(), 15 | 18)
                    && text.starts_with("00D")
                    && text.bytes().all(|b| b.is_ascii_alphanumeric()),
                "15 or 18 letters and digits that start with 00D would be right",
            ),
            Self::Header => (
                (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
                "1 to 1024 visible ASCII characters without spaces would be right",
            ),
            _ => (
                (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) && text.trim() == text,
                "a text of 1 to 1024 bytes without control characters and outer spaces would be right",
            ),
        };
        if ok { Ok(()) } else { Err(right) }
    }
}

fn time(raw: &Raw, min: u64, max: u64) -> Result<Duration, String> {
    let span = match raw {
        Raw::Text(text) => duration::parse(text),
        Raw::Number(_, Some(n)) => {
            return Err(format!(r#"it needs a unit (h, m, s, ms); "{n}s" or "{n}ms" would be right"#));
        }
        _ => None,
    };
    let span = span.ok_or(r#"a time such as "5s", "250ms" or "1m30s" would be right (units h, m, s, ms)"#)?;
    let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
    let right = || format!(r#"a time from "{}" to "{}" would be right"#, Written(min), Written(max));
    (min..=max).contains(&span).then_some(span).ok_or_else(right)
}

fn bytes(raw: &Raw, min: u64, max: u64) -> Result<usize, String> {
    let size = match raw {
        Raw::Text(text) => size::parse(text),
        Raw::Number(_, n) => *n,
        _ => None,
    };
    let size = size.ok_or(r#"a size such as "1MiB", "64KiB" or a number of bytes would be right"#)?;
    let right = || format!(r#"a size from "{}" to "{}" would be right"#, size::Written(min), size::Written(max));
    (min..=max).contains(&size).then_some(size).and_then(|size| usize::try_from(size).ok()).ok_or_else(right)
}

fn addresses(items: &[Raw]) -> Result<Vec<Address>, String> {
    let mut addresses = Vec::with_capacity(items.len());
    for item in items {
        let Raw::Text(text) = item else { return Err(format!("{item} is not a text in quotes")) };
        let address: Address = text.parse().map_err(|_| {
            format!("{item} is not an address; an IP address with a port (127.0.0.1:7480) or unix:/path would be right")
        })?;
        // Port 0 is a fresh port each time.
        let fresh = matches!(&address, Address::Tcp(address) if address.port() == 0);
        if addresses.contains(&address) && !fresh {
            return Err(format!("{item} stands there twice; once would be right"));
        }
        addresses.push(address);
    }
    if addresses.is_empty() { Err("at least one address would be right".into()) } else { Ok(addresses) }
}

fn path(text: &str, places: Places<'_>) -> Result<PathBuf, String> {
    if looks_secret(text) {
        return Err("the path of a file that holds the secret would be right; move it there, and replace it".into());
    }
    if text.is_empty() || text.contains(char::is_control) {
        return Err("the path of a file or directory would be right".into());
    }
    let text = match (text.contains(CREDENTIALS), places.credentials) {
        (false, _) => text.to_owned(),
        (true, Some(directory)) if !directory.is_empty() => text.replace(CREDENTIALS, directory),
        (true, _) => {
            return Err("CREDENTIALS_DIRECTORY is not set; systemd sets it for services with LoadCredential=".into());
        }
    };
    if text.contains("${") {
        return Err(format!("{CREDENTIALS} alone is understood in paths"));
    }
    let path = places.directory.join(text);
    // Fails only without a working directory; the relative path is then as good as any.
    Ok(std::path::absolute(&path).unwrap_or(path))
}

fn url(text: &str) -> Result<Url, String> {
    let mut url =
        Url::parse(text).map_err(|error| format!("{error}; an address such as https://host would be right"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address without user name and password would be right".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address without query and fragment would be right".into());
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err("https would be right; plain http goes to loopback addresses only".into()),
        _ => return Err("an address that starts with https:// would be right".into()),
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.port() > 0 && !address.ip().is_unspecified());
    address.ok_or_else(|| "expected an IP address with a port: 203.0.113.7:443 or [2001:db8::7]:443".into())
}

/// Whether `text` is a secret where its file's path was asked for: a PEM block, a JWT, a Salesforce session id.
fn looks_secret(text: &str) -> bool {
    text.contains("-----BEGIN") || text.starts_with("eyJ") || (text.starts_with("00D") && text.contains('!'))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Value {
    /// As TOML that reads back to the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(span) => write!(f, "\"{}\"", Written(*span)),
            Self::Bytes(size) => write!(f, "\"{}\"", size::Written(*size as u64)),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "{}", Quoted(text)),
            Self::Path(path) => write!(f, "{}", Quoted(&path.to_string_lossy())),
            Self::Url(url) => write!(f, "{}", Quoted(url.as_str().trim_end_matches('/'))),
            // For people: what reads back would show a password.
            Self::Proxy(proxy) => write!(f, "{}", Quoted(&proxy.to_string())),
            Self::SocketAddress(address) => write!(f, "\"{address}\""),
            Self::Addresses(addresses) => {
                f.write_char('[')?;
                for (i, address) in addresses.iter().enumerate() {
                    let text = match address {
                        Address::Tcp(address) => address.to_string(),
                        Address::Unix(path) => format!("unix:{}", path.display()),
                    };
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, Quoted(&text))?;
                }
                f.write_char(']')
            }
        }
    }
}

/// A text as a TOML string.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A value that can be taken out as the type its reader wants.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident => $type:ty),* $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::$variant(value) = value { Some(value.clone()) } else { None }
            }
        }
    )*};
}

from_value! {
    Time => Duration,
    Bytes => usize,
    Integer => u64,
    Flag => bool,
    Text => String,
    Path => PathBuf,
    Url => Url,
    Proxy => Proxy,
    SocketAddress => SocketAddr,
    Addresses => Vec<Address>,
}

/// The one variable that paths may hold: where systemd puts a service's credentials.
const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}";

/// The longest text: consumer keys have about 85 characters, user names at most 80.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

/// How much of a wrong value a problem repeats: a line of a terminal.
const SHOWN_CHARS_MAX: usize = 80;
