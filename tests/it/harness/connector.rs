//! A connector that speaks to Salesforce as the sample does, byte for byte: axios with form-data.

use std::io::{self, Read};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::process::PATIENCE;
use crate::wire::{Address, Answer};

pub(crate) const INTERACTIONS: &str = "/api/v1/interactions";
/// The sample has one for all its requests.
pub(crate) const REQUEST_ID: &str = "f8f26b52-47e7-4b1a-8d1b-2a3d0a2d2c33";
/// And one time.
const TIMESTAMP: u64 = 1_688_190_840_000;
const BOUNDARY: &str = "--------------------------402938475610293847561029";
pub(crate) const TEXT: &str = "what nobody but the agent may read";

#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) address: Address,
    pub(crate) token: String,
    pub(crate) to: String,
}

impl Connector {
    pub(crate) fn new(address: &Address, token: &str) -> Self {
        Self { address: address.clone(), token: token.to_owned(), to: "c".to_owned() }
    }

    pub(crate) fn started(&self, from: &str) -> Answer {
        self.send(&form(&typing(&self.to, from, "TypingStartedIndicator")))
    }

    pub(crate) fn stopped(&self, from: &str) -> Answer {
        self.send(&form(&typing(&self.to, from, "TypingStoppedIndicator")))
    }

    pub(crate) fn message(&self, from: &str) -> Answer {
        self.send(&form(&message(&self.to, from)))
    }

    pub(crate) fn send(&self, form: &[u8]) -> Answer {
        self.address.call("POST", INTERACTIONS, &self.headers(), form)
    }

    pub(crate) fn headers(&self) -> [(&'static str, &str); 6] {
        let authorization: &'static str = Box::leak(format!("Bearer {}", self.token).into_boxed_str());
        let multipart: &'static str = Box::leak(format!("multipart/form-data; boundary={BOUNDARY}").into_boxed_str());
        [
            ("Accept", "application/json"),
            ("Content-Type", multipart),
            ("Authorization", authorization),
            ("OrgId", "00DXX0000000001"),
            ("AuthorizationContext", "Partner1_ChannelDefinition1"),
            ("RequestId", REQUEST_ID),
        ]
    }
}

pub(crate) fn typing(to: &str, from: &str, kind: &str) -> Value {
    let payload = json!({"id": REQUEST_ID, "entryType": kind, "timestamp": TIMESTAMP});
    interaction(to, from, &payload)
}

pub(crate) fn message(to: &str, from: &str) -> Value {
    let content = json!({"formatType": "Text", "text": TEXT});
    let message = json!({"messageType": "StaticContentMessage", "id": REQUEST_ID, "staticContent": content});
    interaction(to, from, &json!({"id": REQUEST_ID, "entryType": "Message", "abstractMessage": message}))
}

fn interaction(to: &str, from: &str, payload: &Value) -> Value {
    let one = json!({"timestamp": TIMESTAMP, "interactionType": "EntryInteraction", "payload": payload});
    json!({"to": to, "from": from, "interactions": [one]})
}

/// The head of a form's part `json`, and the end of a form.
pub(crate) fn form(json: &Value) -> Vec<u8> {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"json\"\r\nContent-Type: application/json\r\n\r\n\
         {json}\r\n--{BOUNDARY}--\r\n"
    )
    .into_bytes()
}

/// An attachment, its file before its description, as the sample sends it.
pub(crate) fn attachment(to: &str, from: &str, file: &[u8]) -> Vec<u8> {
    let one = json!({
        "timestamp": TIMESTAMP, "interactionType": "AttachmentInteraction", "id": REQUEST_ID,
        "attachmentIndex": 0, "contentLength": file.len(), "text": TEXT,
    });
    let mut bytes = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"a.pdf\"\r\n\
         Content-Type: application/pdf\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(file);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&form(&json!({"to": to, "from": from, "interactions": [one]})));
    bytes
}

/// A plain connection, for what no client does.
pub(crate) fn connect(address: &Address) -> TcpStream {
    let Address::Tcp(address) = address else { panic!("{address:?}") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads until `bytes` end with `end`.
pub(crate) fn read_until(stream: &mut impl Read, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    Ok(bytes)
}
