//! The `json` part of `POST /api/v1/interactions`: what the OpenAPI description asks of it.
//!
//! As strict as the description and no stricter: fields it does not know are ignored, as real services do. Of a
//! message's text nothing is read and nothing kept.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::rejection::{ATTACHMENT, JSON, Rejection};

/// The contents of an interaction, as far as they could be read; cut to `TEXT_CHARS_MAX`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    /// The channel address identifier.
    pub to: Option<String>,
    /// The end-user client identifier.
    pub from: Option<String>,
    /// `EntryInteraction` or `AttachmentInteraction`.
    pub interaction_type: Option<String>,
    /// `payload.entryType`.
    pub entry_type: Option<String>,
    /// `payload.id`, or an attachment interaction's own id.
    pub payload_id: Option<String>,
    /// `interactions[0].timestamp`, Unix epoch milliseconds.
    pub timestamp: Option<i64>,
    /// `interactions[0].payload.timestamp`, Unix epoch milliseconds.
    pub payload_timestamp: Option<i64>,
}

impl Facts {
    /// Reads what there is, valid or not, for the record of requests.
    pub(super) fn glean(json: &Value) -> Self {
        let text = |path| json.pointer(path).and_then(Value::as_str).map(cut);
        let integer = |path| json.pointer(path).and_then(Value::as_i64);
        Self {
            to: text("/to"),
            from: text("/from"),
            interaction_type: text("/interactions/0/interactionType"),
            entry_type: text("/interactions/0/payload/entryType"),
            payload_id: text("/interactions/0/payload/id").or_else(|| text("/interactions/0/id")),
            timestamp: integer("/interactions/0/timestamp"),
            payload_timestamp: integer("/interactions/0/payload/timestamp"),
        }
    }
}

/// The start of `text`, as much of it as a record keeps.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// Holds an interaction against its schema. `attachment_bytes` is the length of the `attachments` part, if one came.
pub(super) fn validate(json: &Value, attachment_bytes: Option<u64>) -> Result<(), Rejection> {
    let root = object(json, "the `json` part")?;
    text(root, "", "to", 240)?;
    text(root, "", "from", 255)?;
    match root.get("routingAttributes") {
        None | Some(Value::Null) => {}
        Some(Value::Object(attributes)) => {
            if let Some((name, _)) = attributes.iter().find(|(_, value)| !value.is_string()) {
                return Err(wrong(format!("routingAttributes.{} must be a string", cut(name))));
            }
        }
        Some(_) => return Err(wrong("routingAttributes must be an object of strings")),
    }
    let interactions = match root.get("interactions") {
        Some(Value::Array(items)) => items.as_slice(),
        _ => return Err(wrong("interactions is missing or no array")),
    };
    let [interaction] = interactions else {
        return Err(wrong(format!("interactions must hold exactly 1 item, not {}", interactions.len())));
    };
    let interaction = object(interaction, "interactions[0]")?;
    const AT: &str = "interactions[0].";
    integer(interaction, AT, "timestamp")?;
    match one_of(interaction, AT, "interactionType", &["EntryInteraction", "AttachmentInteraction"])? {
        "EntryInteraction" => match interaction.get("payload") {
            Some(payload) => entry(object(payload, "interactions[0].payload")?),
            None => Err(wrong("interactions[0].payload is missing")),
        },
        _ => attachment(interaction, AT, attachment_bytes),
    }
}

fn entry(payload: &Map<String, Value>) -> Result<(), Rejection> {
    const AT: &str = "interactions[0].payload.";
    let id = text(payload, AT, "id", TEXT_CHARS_MAX)?;
    if !is_uuid(id) {
        return Err(wrong(format!("{AT}id must be a UUID")));
    }
    match one_of(payload, AT, "entryType", &ENTRY_TYPES)? {
        "TypingStartedIndicator" | "TypingStoppedIndicator" => integer(payload, AT, "timestamp").map(|_| ()),
        "Message" => {
            const MESSAGE: &str = "interactions[0].payload.abstractMessage.";
            let message = payload.get("abstractMessage").unwrap_or(&Value::Null);
            let message = object(message, "interactions[0].payload.abstractMessage")?;
            text(message, MESSAGE, "id", TEXT_CHARS_MAX)?;
            one_of(message, MESSAGE, "messageType", &MESSAGE_TYPES).map(|_| ())
        }
        _ => Ok(()),
    }
}

fn attachment(interaction: &Map<String, Value>, at: &str, bytes: Option<u64>) -> Result<(), Rejection> {
    text(interaction, at, "id", TEXT_CHARS_MAX)?;
    integer(interaction, at, "attachmentIndex")?;
    let announced = integer(interaction, at, "contentLength")?;
    match bytes {
        None => Err(Rejection::new(ATTACHMENT, "an AttachmentInteraction needs the part `attachments`")),
        Some(bytes) if u64::try_from(announced) != Ok(bytes) => Err(Rejection::new(
            ATTACHMENT,
            format!("{at}contentLength is {announced}, and the part `attachments` has {bytes} bytes"),
        )),
        Some(_) => Ok(()),
    }
}

/// Whether `text` is a UUID in its usual form, with hyphens and nothing around.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn wrong(message: impl Into<String>) -> Rejection {
    Rejection::new(JSON, message)
}

fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Map<String, Value>, Rejection> {
    value.as_object().ok_or_else(|| wrong(format!("{name} is missing or no object")))
}

fn text<'a>(object: &'a Map<String, Value>, at: &str, field: &str, chars_max: usize) -> Result<&'a str, Rejection> {
    let text = object.get(field).and_then(Value::as_str);
    let text = text.ok_or_else(|| wrong(format!("{at}{field} is missing or no string")))?;
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max {
        return Err(wrong(format!("{at}{field} has {chars} characters; expected 1 to {chars_max}")));
    }
    Ok(text)
}

fn integer(object: &Map<String, Value>, at: &str, field: &str) -> Result<i64, Rejection> {
    let integer = object.get(field).and_then(Value::as_i64);
    integer.ok_or_else(|| wrong(format!("{at}{field} is missing or no 64-bit integer")))
}

fn one_of<'a>(object: &'a Map<String, Value>, at: &str, field: &str, known: &[&str]) -> Result<&'a str, Rejection> {
    let name = text(object, at, field, TEXT_CHARS_MAX)?;
    if known.contains(&name) {
        return Ok(name);
    }
    Err(wrong(format!("{at}{field} `{name}` is unknown; expected {}", known.join(", "))))
}

/// Characters of any text that is kept: the longest `from` of the OpenAPI description, so that every valid id is whole.
const TEXT_CHARS_MAX: usize = 255;

/// The enum `EntryType` of the OpenAPI description.
const ENTRY_TYPES: [&str; 15] = [
    "Message",
    "MessageDeliveryFailed",
    "TypingStartedIndicator",
    "TypingStoppedIndicator",
    "DeliveryAcknowledgement",
    "ReadAcknowledgement",
    "RoutingWorkResult",
    "ParticipantChanged",
    "RoutingResult",
    "Note",
    "FlagRaise",
    "FlagLower",
    "EndUserConsentUpdated",
    "SessionStatusChanged",
    "ConsultConversationInfo",
];

/// The enum `MessageType` of the OpenAPI description.
const MESSAGE_TYPES: [&str; 5] =
    ["ChoicesMessage", "ChoicesResponseMessage", "FormMessage", "FormResponseMessage", "StaticContentMessage"];
