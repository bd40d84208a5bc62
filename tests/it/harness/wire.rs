//! HTTP as bytes on a socket: a client small enough to do what no well-behaved client would.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::process::PATIENCE;
use crate::secrets;

/// Header fields: names and values.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// Where somebody listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// As the logs write it.
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(text.trim_start_matches("http://").parse().unwrap()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(path) => panic!("{} has no URL", path.display()),
        }
    }

    pub(crate) fn connect(&self) -> io::Result<Wire> {
        let stream: Box<dyn Stream> = match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Wire { stream })
    }

    /// One request on a connection of its own.
    pub(crate) fn call(&self, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        let mut wire = self.connect().unwrap_or_else(|error| panic!("{self:?}: {error}"));
        wire.head(method, path, headers, &format!("content-length: {}", body.len()));
        secrets::note_body(body);
        // The answer may come before the body has been taken.
        let _ = wire.stream.write_all(body);
        wire.answer()
    }

    /// The same with somebody who may be gone, or go meanwhile.
    pub(crate) fn try_call(&self, method: &str, path: &str, headers: Headers<'_>, body: &[u8]) -> Option<Answer> {
        let mut wire = self.connect().ok()?;
        secrets::note_body(body);
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: typingd\r\nconnection: close\r\n");
        for (name, value) in headers {
            secrets::note_header(value);
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        wire.stream.write_all(head.as_bytes()).ok()?;
        wire.stream.write_all(body).ok()?;
        let mut text = String::new();
        wire.stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }
}

pub(crate) trait Stream: Read + Write + Send {
    fn set_patience(&self, patience: Duration);
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

/// An open connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
}

impl Wire {
    /// Writes a request's head; `framing` says how its body comes.
    pub(crate) fn head(&mut self, method: &str, path: &str, headers: Headers<'_>, framing: &str) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: typingd\r\nconnection: close\r\n{framing}\r\n");
        for (name, value) in headers {
            secrets::note_header(value);
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).unwrap();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Writes one piece of a chunked body; an empty one ends it.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).unwrap();
    }

    /// Something of what comes next; nothing if the far side has closed.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 65_536];
        let n = self.stream.read(&mut bytes).unwrap();
        bytes.truncate(n);
        bytes
    }

    /// How an answer begins that comes within `patience`.
    pub(crate) fn start_of_answer(&mut self, patience: Duration) -> Option<String> {
        self.stream.set_patience(patience);
        let mut bytes = [0; 64];
        let read = self.stream.read(&mut bytes).unwrap_or_default();
        self.stream.set_patience(PATIENCE);
        (read > 0).then(|| String::from_utf8_lossy(&bytes[..read]).into_owned())
    }

    /// All that comes until the far side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("the connection was not closed: {error}"),
            }
        }
    }

    /// The answer, on a connection that closes after it.
    pub(crate) fn answer(&mut self) -> Answer {
        let text = String::from_utf8(self.rest()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap(), head: head.to_owned(), body: body.to_owned() }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its sentence, if it is a problem document as it should be (RFC 9457).
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        assert_eq!(json["type"], "about:blank", "{self:?}");
        assert!(!json["title"].as_str().unwrap().is_empty(), "{self:?}");
        json["detail"].as_str().unwrap().to_owned()
    }
}
