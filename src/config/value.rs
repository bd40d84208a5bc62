//! Values: as they are written in the file, an environment variable or a flag, and what they become.

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
use crate::store::{self, Place};

/// The values that a key takes.
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
    /// A file or directory. Relative to the directory of the configuration file if it is set there, else to the
    /// working directory. `${CREDENTIALS_DIRECTORY}` is replaced.
    Path,
    /// `https`, or `http` to a loopback host, without credentials, query and fragment.
    Url,
    /// The address of an HTTP proxy, `http`, with or without credentials: these are not shown.
    Proxy,
    /// The address of a store that several typingd share.
    Store,
    /// An IP address with a port.
    SocketAddress,
    /// The id of a Salesforce org: 15 characters, or 18, of which the last three are a checksum.
    OrgId,
    /// A text that can be the value of an HTTP header; an empty one stands for no header.
    Header,
    /// A text that is not empty.
    Text,
    /// Listening addresses.
    Addresses {
        /// How many at least.
        min: usize,
    },
    /// The permissions of a file, in octal.
    FileMode,
}

/// A value as it is written.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    /// How it is written, and its value if that is a whole number from 0 on.
    Number(String, Option<u64>),
    Flag(bool),
    List(Vec<Raw>),
    Other(&'static str),
}

/// A valid value.
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
    Store(Place),
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
    /// A value of the file.
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
            (Kind::Addresses { .. }, _) => {
                Self::List(text.split(',').map(|item| Self::Text(item.trim().into())).collect())
            }
            (Kind::Flag, "true" | "false") => Self::Flag(text == "true"),
            (Kind::Integer { .. } | Kind::Bytes { .. } | Kind::Time { .. }, _)
                if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Self::Number(text.into(), text.parse().ok())
            }
            _ => Self::Text(text.into()),
        }
    }

    fn number(&self) -> Option<u64> {
        if let Self::Number(_, number) = self { *number } else { None }
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

impl fmt::Display for Kind {
    /// Its values in words: for the reference, and for errors after "expected".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time { min, max } => {
                let [min, max] = [min, max].map(|millis| Written(Duration::from_millis(millis)));
                write!(f, r#"a time from "{min}" to "{max}" (units h, m, s, ms)"#)
            }
            Self::Bytes { min, max } => {
                let [min, max] = [min, max].map(size::Written);
                write!(f, r#"a size from "{min}" to "{max}" (units B, KiB, MiB, GiB)"#)
            }
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Flag => f.write_str("true or false, without quotes"),
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                f.write_str(&words.join(" or "))
            }
            Self::Path => f.write_str("the path of a file or directory"),
            Self::Url => f.write_str(
                "an https address, or plain http to a loopback address, without user name, password, query and fragment",
            ),
            Self::Proxy => f.write_str("the address of an HTTP proxy, such as http://proxy:3128"),
            Self::Store => f.write_str(store::EXPECTED),
            Self::SocketAddress => f.write_str("an IP address with a port: 203.0.113.7:443 or [2001:db8::7]:443"),
            Self::OrgId => f.write_str("15 or 18 letters and digits that start with 00D"),
            Self::Header => write!(f, "up to {TEXT_BYTES_MAX} visible ASCII characters without spaces"),
            Self::Text => {
                write!(f, "a text of 1 to {TEXT_BYTES_MAX} bytes without control characters and outer spaces")
            }
            Self::Addresses { .. } => f.write_str(r#"a list such as ["127.0.0.1:7480", "unix:/path"]"#),
            Self::FileMode => f.write_str(r#"a file mode in quotes, such as "0660""#),
        }
    }
}

impl Kind {
    /// The value that `raw` stands for, or how to show it and what is expected.
    pub(super) fn read(self, raw: &Raw, places: Places<'_>) -> Result<Value, (String, String)> {
        let shown = match (self, raw) {
            // A password in an address, or a token in its query, is not repeated.
            (Self::Url | Self::Proxy | Self::Store, Raw::Text(text)) if text.contains(['@', '?', '#']) => {
                "(not shown)".to_owned()
            }
            _ => raw.to_string(),
        };
        self.value(raw, places).map_err(|expected| (shown, expected))
    }

    fn value(self, raw: &Raw, places: Places<'_>) -> Result<Value, String> {
        let value = match (self, raw) {
            (Self::Time { .. }, Raw::Number(_, Some(n))) => {
                return Err(format!(r#"a time needs a unit (h, m, s, ms); expected "{n}s" or "{n}ms""#));
            }
            (Self::Time { min, max }, Raw::Text(text)) => {
                let range = Duration::from_millis(min)..=Duration::from_millis(max);
                duration::parse(text).filter(|span| range.contains(span)).map(Value::Time)
            }
            (Self::Bytes { min, max }, Raw::Text(_) | Raw::Number(..)) => {
                let size = if let Raw::Text(text) = raw { size::parse(text) } else { raw.number() };
                let size = size.filter(|size| (min..=max).contains(size));
                size.and_then(|size| usize::try_from(size).ok()).map(Value::Bytes)
            }
            (Self::Integer { min, max }, _) => {
                raw.number().filter(|number| (min..=max).contains(number)).map(Value::Integer)
            }
            (Self::Flag, Raw::Flag(flag)) => Some(Value::Flag(*flag)),
            (Self::OneOf(words), Raw::Text(text)) => words.contains(&text.as_str()).then(|| Value::Text(text.clone())),
            (Self::Addresses { min }, Raw::List(items)) if items.len() >= min => {
                let (addresses, wrong) = addresses(items);
                return if wrong.is_empty() { Ok(Value::Addresses(addresses)) } else { Err(wrong.join("; ")) };
            }
            (Self::Path, Raw::Text(text)) => return path(text, places).map(Value::Path),
            (Self::Proxy, Raw::Text(text)) => return Proxy::parse(text).map(Value::Proxy),
            (Self::Store, Raw::Text(text)) => return Place::parse(text).map(Value::Store),
            (Self::Url, Raw::Text(text)) if text.matches("://").count() > 1 || is_without_slashes(text) => {
                return Err(r#"expected "https://" once, at its beginning"#.into());
            }
            (Self::Url, Raw::Text(text))
                if text.split_once("://").is_some_and(|(_, rest)| rest.trim_end_matches('/').contains("//")) =>
            {
                return Err("expected a path without an empty part, //".into());
            }
            (Self::Url, Raw::Text(text)) => match url(text) {
                Some(url) if url.host_str().is_some_and(|host| host.ends_with('.')) => {
                    return Err("expected the host's name without the dot at its end".into());
                }
                None if has_more(text).is_some() => {
                    return Err(format!("it has {}; expected {self}", has_more(text).unwrap_or_default()));
                }
                url => url.map(Value::Url),
            },
            (Self::SocketAddress, Raw::Text(text)) => {
                let address = text.parse().ok();
                let usable = |address: &SocketAddr| address.port() > 0 && !address.ip().is_unspecified();
                address.filter(usable).map(Value::SocketAddress)
            }
            (Self::OrgId, Raw::Text(text)) if self.accepts(text) && !has_checksum(text) => {
                let right = checksum(text);
                return Err(format!(
                    "the last three characters are a checksum of the first 15, in which capitals count; expected {right} for \
                     these, or the 15 alone"
                ));
            }
            (Self::OrgId | Self::Header | Self::Text | Self::FileMode, Raw::Text(text)) => {
                self.accepts(text).then(|| Value::Text(text.clone()))
            }
            (
                Self::Time { .. }
                | Self::Bytes { .. }
                | Self::Flag
                | Self::OneOf(_)
                | Self::Addresses { .. }
                | Self::FileMode,
                _,
            ) => None,
            _ => return Err("expected a text in quotes".into()),
        };
        value.ok_or_else(|| format!("expected {self}"))
    }

    fn accepts(self, text: &str) -> bool {
        let fits = (1..=TEXT_BYTES_MAX).contains(&text.len());
        match self {
            Self::OrgId => {
                let letters = text.bytes().all(|b| b.is_ascii_alphanumeric());
                matches!(text.len(), 15 | 18) && text.starts_with("00D") && letters
            }
            Self::Header => text.len() <= TEXT_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic()),
            Self::FileMode => {
                let digits = text.strip_prefix('0').unwrap_or(text);
                digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
            }
            _ => fits && !text.contains(char::is_control) && text.trim() == text,
        }
    }
}

/// The addresses in a list, and what is wrong with each of the others.
pub(super) fn addresses(items: &[Raw]) -> (Vec<Address>, Vec<String>) {
    let (mut addresses, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        let address: Option<Address> = if let Raw::Text(text) = item { text.parse().ok() } else { None };
        // Port 0 is a fresh port each time.
        let fresh = matches!(&address, Some(Address::Tcp(address)) if address.port() == 0);
        match address {
            None => wrong.push(format!("{item} is not an address; {}", expected_address(item))),
            Some(Address::Unix(path)) if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX => wrong.push(format!(
                "{item} is too long for a socket; expected a path of at most {SOCKET_PATH_BYTES_MAX} bytes"
            )),
            Some(address) if addresses.contains(&address) && !fresh => {
                wrong.push(format!("{item} is given twice; expected it once"));
            }
            Some(address) => addresses.push(address),
        }
    }
    (addresses, wrong)
}

/// What is expected in the place of a listening address that is none.
fn expected_address(item: &Raw) -> &'static str {
    let Raw::Text(text) = item else { return EXPECTED_ADDRESS };
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('~') => "~ is not replaced; expected an absolute path, unix:/path",
        Some(_) => "its path is relative; expected an absolute one, such as unix:/run/typingd/typingd.sock",
        None if text.starts_with(['/', '~', '.']) => "expected unix: before a path, and the path absolute: unix:/path",
        None => EXPECTED_ADDRESS,
    }
}

fn path(text: &str, places: Places<'_>) -> Result<PathBuf, String> {
    if looks_secret(text) {
        return Err("expected the path of a file that holds the secret; move it there, and replace it".into());
    }
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("expected {}", Kind::Path));
    }
    let text = match (text.contains(CREDENTIALS), places.credentials) {
        (false, _) => text.to_owned(),
        (true, Some(directory)) if !directory.is_empty() => text.replace(CREDENTIALS, directory),
        (true, _) => {
            return Err("CREDENTIALS_DIRECTORY is not set; systemd sets it for services with LoadCredential=".into());
        }
    };
    if text == "~" || text.starts_with("~/") {
        return Err("~ is not replaced; expected an absolute path, or one relative to the configuration file".into());
    }
    if text.contains("${") {
        return Err(format!("{CREDENTIALS} alone is understood in paths"));
    }
    let path = places.directory.join(text);
    // Fails only without a working directory; the relative path is then as good as any.
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// Whether a scheme is there, and less than two slashes behind it: what reads addresses adds them.
fn is_without_slashes(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) && !rest.starts_with("//")
    })
}

fn url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !bare || !(url.scheme() == "https" || url.scheme() == "http" && loopback) {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

/// What an address has that none here may have.
fn has_more(text: &str) -> Option<&'static str> {
    let url = Url::parse(text).ok()?;
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a user name or a password, before @");
    }
    let query = url.query().map(|_| "a query, from ? on");
    query.or_else(|| url.fragment().map(|_| "a fragment, from # on"))
}

/// Whether an org id of 18 characters ends with the checksum of its first 15. One of 15 has none.
fn has_checksum(id: &str) -> bool {
    id.len() == ORG_ID_BYTES || id[ORG_ID_BYTES..] == checksum(id)
}

/// The three characters that tell apart ids that differ in their capitals alone: one for each five characters, a bit for
/// each capital among them.
fn checksum(id: &str) -> String {
    let bits = |five: &[u8]| five.iter().rev().fold(0, |bits, byte| bits << 1 | usize::from(byte.is_ascii_uppercase()));
    let digits = id.as_bytes()[..ORG_ID_BYTES].chunks(5).map(|five| char::from(CHECKSUM_DIGITS[bits(five)]));
    digits.collect()
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
            Self::Store(place) => write!(f, "{}", Quoted(&place.to_string())),
            Self::SocketAddress(address) => write!(f, "\"{address}\""),
            Self::Addresses(addresses) => {
                f.write_char('[')?;
                for (i, address) in addresses.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, Quoted(&Bare(address).to_string()))?;
                }
                f.write_char(']')
            }
        }
    }
}

/// A listening address as it is written in a configuration.
pub(super) struct Bare<'a>(pub(super) &'a Address);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
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
    Store => Place,
    SocketAddress => SocketAddr,
    Addresses => Vec<Address>,
}

/// What goes out of an org id; Salesforce asks for 15 characters.
pub(super) const ORG_ID_BYTES: usize = 15;

const CHECKSUM_DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

const EXPECTED_ADDRESS: &str = "expected an IP address with a port (127.0.0.1:7480) or unix:/path";

/// `sockaddr_un` has room for 108 bytes, of which the last is a zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The one variable that paths may hold: where systemd puts a service's credentials.
const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}";

/// The longest text: consumer keys have about 85 characters, user names at most 80.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

/// How much of a wrong value a problem repeats: a line of a terminal.
const SHOWN_CHARS_MAX: usize = 80;
