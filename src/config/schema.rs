//! The JSON schema of the configuration, made of the table of keys, so that an editor knows what `check` knows.
//!
//! A schema can't express everything: how long a time may be, that a file must exist, that an address beyond loopback
//! needs a token. What it rejects `check` rejects too, and `check` has the last word.

use serde_json::{Map, Value, json};

use super::keys::{Absent, CHANNELS, KEYS, Key};
use super::value::{Kind, TEXT_BYTES_MAX};
use crate::model::CHANNEL_CHARS_MAX;

/// The schema, by the draft of 2020-12.
pub fn schema() -> Value {
    let mut root = table("The configuration of typingd.");
    for key in KEYS.iter().filter(|key| key.lacks.is_none()) {
        let mut place = &mut root;
        for name in key.table().split('.') {
            place = properties(place).entry(name).or_insert_with(|| table(""));
        }
        properties(place).insert(key.name().to_owned(), of_key(key));
    }
    // Both are ways to a token.
    root["properties"]["upstream"]["properties"]["auth"]["not"] = json!({"required": ["token_file", "jwt_bearer"]});
    let mut channel = table("One channel. Keys that are not set follow those of all channels.");
    for key in KEYS.iter().filter(|key| key.per_channel) {
        let mut own = of_key(key);
        own.as_object_mut().map(|own| own.remove("default"));
        properties(&mut channel).insert(key.name().to_owned(), own);
    }
    let channels = json!({
        "type": "object",
        "description": "Single channels, by their addresses (`to`).",
        "propertyNames": {"minLength": 1, "maxLength": CHANNEL_CHARS_MAX},
        "additionalProperties": channel,
    });
    properties(&mut root).insert(CHANNELS.to_owned(), channels);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("typingd.toml");
    root
}

fn table(description: &str) -> Value {
    let mut table = json!({"type": "object", "additionalProperties": false, "properties": {}});
    if !description.is_empty() {
        table["description"] = json!(description);
    }
    table
}

fn properties(table: &mut Value) -> &mut Map<String, Value> {
    table["properties"].as_object_mut().expect("a table is made with properties")
}

fn of_key(key: &Key) -> Value {
    let mut schema = of_kind(key.kind);
    let mut description = vec![key.doc.to_owned()];
    if matches!(key.kind, Kind::Time { .. } | Kind::Bytes { .. }) {
        // What a pattern can't check.
        description.push(format!("Expected {}.", key.kind));
    }
    match key.absent {
        Absent::Default(value) => schema["default"] = as_json(value),
        Absent::Required(example) => schema["examples"] = json!([as_json(example)]),
        Absent::Unset(meaning) => description.push(format!("Not set: {meaning}.")),
    }
    schema["description"] = json!(description.join(" "));
    schema
}

fn of_kind(kind: Kind) -> Value {
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match kind {
        Kind::Time { .. } => json!({"type": "string", "minLength": 2, "pattern": TIME}),
        Kind::Bytes { min, max } => {
            json!({"anyOf": [{"type": "integer", "minimum": min, "maximum": max}, text(SIZE)]})
        }
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::OneOf(words) => json!({"enum": words}),
        Kind::Path => text(PATH),
        Kind::Url => text(URL),
        Kind::Proxy => text(PROXY),
        Kind::Store => text(STORE),
        Kind::SocketAddress => text(SOCKET_ADDRESS),
        Kind::OrgId => text(ORG_ID),
        Kind::Header => text(HEADER),
        Kind::Text => json!({"type": "string", "pattern": TEXT, "maxLength": TEXT_BYTES_MAX}),
        Kind::Addresses { min } => json!({"type": "array", "minItems": min, "items": text(ADDRESS)}),
        Kind::FileMode => text(FILE_MODE),
    }
}

/// A value of the table of keys, which holds it as it is written in the file.
fn as_json(toml: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {toml}")).ok();
    let value = table.and_then(|mut table| table.remove("value"));
    value.and_then(|value| serde_json::to_value(value).ok()).expect("the table of keys holds TOML")
}

const STORE: &str = "^(redis|rediss|redis\\+unix)://";

/// As [`crate::base::duration::parse`] reads it: each unit once, the coarser first.
const TIME: &str = "^([0-9]+(\\.[0-9]+)?h)?([0-9]+(\\.[0-9]+)?m)?([0-9]+(\\.[0-9]+)?s)?([0-9]+(\\.[0-9]+)?ms)?$";
/// As [`crate::base::size::parse`] reads it.
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB)$";
/// Without control characters.
const PATH: &str = "^[^\\u0000-\\u001f\\u007f]+$";
/// https, or plain http to this machine; without user, query and fragment.
const URL: &str = "^(https://[^/?#@\\s]+|http://(localhost|127(\\.[0-9]{1,3}){3}|\\[::1\\])(:[0-9]+)?)(/[^?#\\s]*)?$";
/// Plain http, with or without user and password; without path, query and fragment.
const PROXY: &str = "^http://[^/?#\\s]+/?$";
/// An IP address with a port.
const SOCKET_ADDRESS: &str = "^([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]):[0-9]{1,5}$";
const ORG_ID: &str = "^00D[A-Za-z0-9]{12}([A-Z0-5]{3})?$";
/// In octal.
const FILE_MODE: &str = "^0?[0-7]{3}$";
/// Visible ASCII.
const HEADER: &str = "^[!-~]{0,1024}$";
/// Without spaces at its ends.
const TEXT: &str = "^\\S(.*\\S)?$";
/// An IP address with a port, or a Unix socket.
const ADDRESS: &str = "^(unix:/.*|[0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,5}|\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]:[0-9]{1,5})$";
