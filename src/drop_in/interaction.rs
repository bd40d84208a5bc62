//! What kind of interaction a request is: its form is read no further than the part `json`, and that no further than its
//! ids and kinds. What can't be read is forwarded.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use memchr::memchr_iter;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::progress::Broken;
use crate::http::multipart::{self, Event, Scanner};
use crate::model::{Conversation, ConversationRef, check_id};

/// How much of a body is read ahead in search of its part `json`. A typing entry has some 600 bytes, a message a few
/// thousand. A form that brings a long file first is read on as it passes.
pub(super) const PREFIX_BYTES_MAX: usize = 64 * 1024;
/// The longest id of a typing entry that is answered. They are UUIDs, mostly.
const ENTRY_ID_CHARS_MAX: usize = 255;

/// An interaction that means something here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interaction {
    pub(super) conversation: Conversation,
    pub(super) kind: Kind,
    /// The payload's id, of a typing entry: its answer repeats it. Empty for messages.
    pub(super) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Typing entries, whole, and as the Interaction Service wants them.
    Started,
    Stopped,
    /// A message or an attachment.
    Message,
}

/// What a body turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Known(Interaction),
    /// Nothing that means anything here, or nothing that could be read.
    Unknown,
    /// A form with this boundary, whose part `json` has not come yet.
    Later(String),
}

/// What was read of a body, to be sent on before the rest.
#[derive(Default)]
pub(super) struct Prefix {
    pub(super) frames: Vec<Frame<Bytes>>,
    bytes: usize,
    broken: Option<Broken>,
}

impl Prefix {
    /// The next piece of `body` within bounds; `None` at its end, or where the search ends.
    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Broken> {
        loop {
            if self.bytes >= PREFIX_BYTES_MAX {
                return Err(Broken::TooLong);
            }
            let frame = match body.frame().await {
                Some(Err(error)) => return Err(*self.broken.insert(Broken::of(&error))),
                None => return Ok(None),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.bytes += data.len();
                    self.frames.push(Frame::data(data.clone()));
                    return Ok(Some(data));
                }
                Err(trailers) => self.frames.push(trailers),
            }
        }
    }
}

/// Reads `body` until it is known what kind of interaction it is, or that this can't be known.
///
/// # Errors
/// When the body stalls or breaks off: what has come of it must not be taken for the whole.
pub(super) async fn read_ahead(headers: &HeaderMap, body: &mut Body) -> Result<(Prefix, Found), Broken> {
    let mut prefix = Prefix::default();
    let Some(boundary) = boundary(headers) else { return Ok((prefix, Found::Unknown)) };
    let interaction = find(&boundary, body, &mut prefix).await;
    let found = match interaction {
        Some(interaction) => Found::Known(interaction),
        None if prefix.bytes >= PREFIX_BYTES_MAX => Found::Later(boundary.into_owned()),
        None => Found::Unknown,
    };
    match prefix.broken {
        Some(broken) => Err(broken),
        None => Ok((prefix, found)),
    }
}

/// The same for a `body` that is there, and shorter than [`PREFIX_BYTES_MAX`].
pub(super) fn read_whole(headers: &HeaderMap, body: &[u8]) -> Found {
    let found = boundary(headers).and_then(|boundary| find_in(&boundary, body));
    found.map_or(Found::Unknown, Found::Known)
}

fn find_in(boundary: &str, body: &[u8]) -> Option<Interaction> {
    if let Some(json) = only_json(boundary, body) {
        return read(json);
    }
    let mut search = Search::new(boundary);
    let interaction = read(&search.read(body)??)?;
    if interaction.kind == Kind::Message {
        return Some(interaction);
    }
    search.read(&[])?;
    search.is_entry_alone().then_some(interaction)
}

/// The content of a form's only part, an object named `json`, where all of it is there and written as most client libraries
/// write it. Any other form is left to a [`Scanner`].
pub(super) fn only_json<'a>(boundary: &str, form: &'a [u8]) -> Option<&'a [u8]> {
    let head = form.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let head = head.strip_prefix(b"\r\nContent-Disposition: form-data; name=\"json\"\r\n")?;
    let content = head.strip_prefix(b"Content-Type: application/json\r\n").unwrap_or(head).strip_prefix(b"\r\n")?;
    let is_boundary = |line: &[u8]| line.strip_prefix(b"--").is_some_and(|line| line.starts_with(boundary.as_bytes()));
    // The first one ends the part.
    let end = memchr_iter(b'\n', content).find(|&at| is_boundary(&content[at + 1..]))?;
    let (json, behind) = (content[..end].strip_suffix(b"\r")?, &content[end + b"\n--".len() + boundary.len()..]);
    (json.starts_with(b"{") && behind.starts_with(b"--")).then_some(json)
}

fn boundary(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain { multipart::boundary(headers) } else { None }
}

async fn find(boundary: &str, body: &mut Body, prefix: &mut Prefix) -> Option<Interaction> {
    let mut search = Search::new(boundary);
    let json = loop {
        let piece = prefix.next(body).await.ok()??;
        if let Some(json) = search.read(&piece)? {
            break json;
        }
    };
    let interaction = read(&json)?;
    if interaction.kind == Kind::Message {
        return Some(interaction);
    }
    // A typing entry is answered here and never forwarded: all of it must be as expected.
    let mut piece = Bytes::new();
    loop {
        search.read(&piece)?;
        match prefix.next(body).await.ok()? {
            Some(next) => piece = next,
            None => return search.is_entry_alone().then_some(interaction),
        }
    }
}

/// The search for a form's part `json`.
pub(super) struct Search {
    scanner: Scanner,
    /// Of the part `json`, while it comes.
    json: Option<Vec<u8>>,
    parts: usize,
    ended: bool,
}

impl Search {
    pub(super) fn new(boundary: &str) -> Self {
        Self { scanner: Scanner::new(boundary), json: None, parts: 0, ended: false }
    }

    /// Whether the form is complete, and holds nothing but one part.
    const fn is_entry_alone(&self) -> bool {
        self.parts == 1 && self.ended
    }

    /// Reads a piece of a form that is being forwarded. `Some(None)` to go on; `None` when there is nothing to find.
    pub(super) fn find(&mut self, piece: &[u8]) -> Option<Option<Interaction>> {
        match self.read(piece)? {
            Some(json) => read(&json).map(Some),
            None => Some(None),
        }
    }

    /// Reads a piece up to the end of the next part `json`, and gives its content. `None` when it is no form, or holds
    /// nothing that is read here: a part that is encoded, or too long.
    fn read(&mut self, piece: &[u8]) -> Option<Option<Vec<u8>>> {
        self.scanner.push(piece);
        while let Some(event) = self.scanner.poll_event().ok()? {
            match event {
                Event::Part(part) => {
                    self.parts += 1;
                    if part.name.as_deref() == Some("json") {
                        if part.encoded {
                            return None;
                        }
                        self.json = Some(Vec::new());
                    }
                }
                Event::Content(bytes) => {
                    if let Some(json) = &mut self.json {
                        json.extend_from_slice(&bytes);
                        if json.len() > PREFIX_BYTES_MAX {
                            return None;
                        }
                    }
                }
                Event::PartEnd => {
                    if let Some(json) = self.json.take() {
                        return Some(Some(json));
                    }
                }
                Event::End => self.ended = true,
            }
        }
        Some(None)
    }
}

/// The fields that are read. Nothing else of it is parsed, a message's text least of all.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    interactions: [Item<'a>; 1],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    interaction_type: Cow<'a, str>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<Payload<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entry_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
}

fn read(json: &[u8]) -> Option<Interaction> {
    let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
    // Text that is checked as a whole need not be checked string by string.
    let envelope = std::str::from_utf8(json).map_or_else(|_| serde_json::from_slice(json), serde_json::from_str);
    let Envelope { to, from, interactions: [item] } = envelope.ok()?;
    let (kind, id) = match (&*item.interaction_type, &item.payload) {
        ("AttachmentInteraction", _) => (Kind::Message, String::new()),
        ("EntryInteraction", Some(payload)) => {
            // What the Interaction Service would refuse it is to refuse itself.
            let id = || {
                item.timestamp?.get().parse::<i64>().ok()?;
                payload.timestamp?.get().parse::<i64>().ok()?;
                let id: String = serde_json::from_str(payload.id?.get()).ok()?;
                check_id(&id, ENTRY_ID_CHARS_MAX).is_ok().then_some(id)
            };
            match payload.entry_type.as_deref()? {
                "Message" => (Kind::Message, String::new()),
                "TypingStartedIndicator" => (Kind::Started, id()?),
                "TypingStoppedIndicator" => (Kind::Stopped, id()?),
                _ => return None,
            }
        }
        _ => return None,
    };
    let conversation = ConversationRef::new(&to, &from).ok()?.to_owned();
    Some(Interaction { conversation, kind, id })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::drop_in::paced::Paced;
    use std::time::Duration;

    const ID: &str = "8a3c9a30-8c5f-4e6a-9a8e-30a44ad2f0a1";

    fn entry(kind: &str) -> String {
        format!(
            r#"{{"to":"c","from":"u\u00e9","interactions":[{{"timestamp":1688190840000,"interactionType":"EntryInteraction","payload":{{"id":"{ID}","entryType":"{kind}","timestamp":1688190840000}}}}]}}"#
        )
    }

    fn part(head: &str, content: &str) -> String {
        format!("--b\r\n{head}\r\n\r\n{content}\r\n")
    }

    fn json_part(content: &str) -> String {
        part("Content-Disposition: form-data; name=\"json\"", content)
    }

    /// Reads `body`, which comes in pieces of `piece` bytes. Returns also what was read ahead and what was left.
    async fn read_in(content_type: &str, body: &str, piece: usize) -> (Option<Kind>, Vec<u8>, Vec<u8>) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let whole = body.len() < PREFIX_BYTES_MAX;
        let found_whole = whole.then(|| read_whole(&headers, body.as_bytes()));
        let pieces: Vec<_> = body
            .as_bytes()
            .chunks(piece)
            .map(|piece| Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut body = Body::from_stream(stream::iter(pieces));
        let (prefix, found) = read_ahead(&headers, &mut body).await.unwrap();
        assert!(found_whole.is_none_or(|whole| whole == found), "found whole: not {found:?}");
        let found = match found {
            Found::Known(found) => Some(found),
            Found::Unknown | Found::Later(_) => None,
        };
        let prefix = prefix.frames.into_iter().flat_map(|frame| frame.into_data().unwrap()).collect();
        let rest = body.collect().await.unwrap().to_bytes().to_vec();
        if let Some(found) = &found {
            assert_eq!((found.conversation.to(), found.conversation.from()), ("c", "ué"));
            assert_eq!(found.id, if found.kind == Kind::Message { "" } else { ID });
        }
        (found.map(|found| found.kind), prefix, rest)
    }

    #[tokio::test]
    async fn what_connectors_send_is_recognised_and_no_byte_is_lost() {
        let started = entry("TypingStartedIndicator");
        let message = entry("Message").replace(
            r#""entryType""#,
            r#""abstractMessage":{"messageType":"StaticContentMessage","staticContent":{"text":"hello"}},"entryType""#,
        );
        let attachment =
            r#"{"to":"c","from":"ué","interactions":[{"interactionType":"AttachmentInteraction","id":"x"}]}"#;
        let file = part("Content-Disposition: form-data; name=\"attachments\"; filename=\"a.bin\"", &"x".repeat(500));
        let end = "--b--\r\n";
        let form = "multipart/form-data; boundary=b";
        let known = Some(Kind::Started);
        let cases = [
            ("plain", form, json_part(&started) + end, known),
            ("quoted boundary", "Multipart/Form-Data; charset=utf-8; boundary=\"b\"", json_part(&started) + end, known),
            (
                "a content type and lower case",
                form,
                part("content-type: application/json\r\ncontent-disposition: form-data; name=\"json\"", &started) + end,
                known,
            ),
            (
                "a file",
                form,
                part(
                    "CONTENT-DISPOSITION: form-data; name=\"json\"; filename=\"entry.json\"\r\nContent-Type: application/octet-stream",
                    &started,
                ) + end,
                known,
            ),
            ("stopped", form, json_part(&entry("TypingStoppedIndicator")) + end, Some(Kind::Stopped)),
            ("a message", form, json_part(&message) + end, Some(Kind::Message)),
            ("an attachment", form, json_part(attachment) + &file + end, Some(Kind::Message)),
            ("its file first", form, file.clone() + &json_part(attachment) + end, Some(Kind::Message)),
            ("typing with another part", form, json_part(&started) + &file + end, None),
            ("typing behind another part", form, file.clone() + &json_part(&started) + end, None),
            ("typing twice", form, json_part(&started) + &json_part(&started) + end, None),
            ("typing without the end", form, json_part(&started) + "--b", None),
            ("another entry", form, json_part(&entry("ReadAcknowledgement")) + end, None),
            (
                "base64, which need not be understood",
                form,
                part("Content-Disposition: form-data; name=\"json\"\r\nContent-Transfer-Encoding: base64", &started)
                    + end,
                None,
            ),
            (
                "quoted-printable",
                form,
                part(
                    "Content-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=json",
                    &started,
                ) + end,
                None,
            ),
            ("no form", "application/json", started.clone(), None),
            ("another boundary", "multipart/form-data; boundary=c", json_part(&started) + end, None),
            ("no boundary", "multipart/form-data", json_part(&started) + end, None),
            ("no json", form, json_part("{\"to\":") + end, None),
            ("a number as id", form, json_part(&started.replace(&format!("\"{ID}\""), "1")) + end, None),
            ("no id", form, json_part(&started.replace(ID, "")) + end, None),
            ("a long id", form, json_part(&started.replace(ID, &"x".repeat(256))) + end, None),
            ("a time as text", form, json_part(&started.replace("1688190840000", "\"1688190840000\"")) + end, None),
            ("no end user", form, json_part(&started.replace("u\\u00e9", "")) + end, None),
            ("two interactions", form, json_part(&started.replace("}]}", "},{}]}")) + end, None),
            ("nothing", form, String::new(), None),
        ];
        for (name, content_type, body, expected) in cases {
            for piece in [1, 7, 100, 1 << 20] {
                let (kind, prefix, rest) = read_in(content_type, &body, piece).await;
                assert_eq!(kind, expected, "{name} in pieces of {piece}");
                assert!([prefix, rest].concat() == body.as_bytes(), "{name} in pieces of {piece}: bytes are lost");
            }
        }
    }

    #[tokio::test]
    async fn the_json_part_is_found_in_every_librarys_form() {
        #[derive(Deserialize)]
        struct Form {
            client: String,
            content_type: String,
            body: String,
        }
        let forms: Vec<Form> = serde_json::from_str(include_str!("../../tests/data/forms.json")).unwrap();
        assert!(forms.len() > 25);
        for Form { client, content_type, body } in forms {
            for kind in [Kind::Started, Kind::Stopped, Kind::Message] {
                let name = match kind {
                    Kind::Started => "TypingStartedIndicator",
                    Kind::Stopped => "TypingStoppedIndicator",
                    Kind::Message => "Message",
                };
                let json = entry(name);
                let body = body.replace("{json}", &json).replace("{length}", &json.len().to_string());
                for piece in 1..body.len() {
                    let (found, prefix, rest) = read_in(&content_type, &body, piece).await;
                    assert_eq!(found, Some(kind), "{client}, in pieces of {piece}: {body}");
                    assert!([prefix, rest].concat() == body.as_bytes(), "{client}: bytes are lost");
                }
            }
        }
    }

    #[test]
    fn an_entry_is_read_with_what_is_unusual_in_it() {
        let long = "\u{fc}".repeat(255);
        for (json, from, id) in [
            (entry("TypingStartedIndicator"), "u\u{e9}", ID),
            (format!("\u{feff}{}", entry("TypingStartedIndicator")), "u\u{e9}", ID),
            (entry("TypingStartedIndicator").replace("u\\u00e9", &long), &long, ID),
            (entry("TypingStartedIndicator").replace(ID, "no \\\"UUID\\\""), "u\u{e9}", "no \"UUID\""),
            (entry("TypingStartedIndicator").replace(ID, &long), "u\u{e9}", &long),
        ] {
            let found = read(json.as_bytes()).unwrap_or_else(|| panic!("{json}"));
            assert_eq!((found.conversation.from(), &*found.id, found.kind), (from, id, Kind::Started));
        }
        for json in
            [entry("Message").replace("u\\u00e9", &"x".repeat(256)), format!("\u{feff}\u{feff}{}", entry("Message"))]
        {
            assert_eq!(read(json.as_bytes()), None, "{json}");
        }
    }

    #[tokio::test]
    async fn what_is_not_found_ahead_is_looked_for_later_in_a_long_form() {
        let form = "multipart/form-data; boundary=b".parse().unwrap();
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
        let file = |bytes: usize| part("Content-Disposition: form-data; name=\"a\"", &"x".repeat(bytes));
        for (text, later) in
            [(file(PREFIX_BYTES_MAX), true), (file(10) + "--b--\r\n", false), ("no form".to_owned(), false)]
        {
            let (prefix, found) = read_ahead(&headers, &mut Body::from(text)).await.unwrap();
            assert_eq!(matches!(found, Found::Later(_)), later, "{} bytes", prefix.bytes);
        }
    }

    #[tokio::test]
    async fn reading_ahead_is_bounded_and_stops_at_the_json_part() {
        let form = "multipart/form-data; boundary=b";
        let long = "x".repeat(10 * PREFIX_BYTES_MAX);
        let other = part("Content-Disposition: form-data; name=\"other\"", &long);
        let late = other.clone() + &json_part(&entry("Message"));
        for body in [json_part(&long), long.clone(), other, late] {
            let (kind, prefix, _) = read_in(form, &body, 1_000).await;
            assert_eq!(kind, None);
            assert!(prefix.len() < PREFIX_BYTES_MAX + 1_000, "{}", prefix.len());
        }
        let message =
            json_part(&entry("Message")) + &part("Content-Disposition: form-data; name=\"attachments\"", &long);
        let (kind, prefix, _) = read_in(form, &message, 1_000).await;
        assert_eq!(kind, Some(Kind::Message));
        assert!(prefix.len() <= 3_000, "{}", prefix.len());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_never_taken_for_a_whole_one() {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "multipart/form-data; boundary=b".parse().unwrap())]);
        let half = Bytes::from(json_part(&entry("TypingStartedIndicator")));
        let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
        let mut body = Body::from_stream(stream::iter(pieces));
        assert_eq!(read_ahead(&headers, &mut body).await.err(), Some(Broken::Off));
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let mut body = Body::new(Paced::of_request(silent, Duration::from_millis(5)));
        assert_eq!(read_ahead(&headers, &mut body).await.err(), Some(Broken::Stalled));
    }
}
