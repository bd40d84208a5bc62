//! A form as `multipart/form-data` writes it (RFC 7578), read as it arrives: its parts, their names, their content.
//!
//! As tolerant as other servers, since client libraries differ: names of fields and parameters in any case, values with or
//! without quotes, `name*`, folded fields, bare line feeds, blanks behind a boundary, text before the first part and
//! behind the last. It does no I/O: pieces of any length go in, events come out, and no more than the head of a part or
//! the length of a boundary is kept.

use std::borrow::Cow;
use std::fmt;

use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem};

/// The longest head of a part. Those of client libraries have a few hundred bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest boundary. RFC 2046 allows 70 characters.
const BOUNDARY_BYTES_MAX: usize = 256;
/// Blanks between a boundary and the end of its line; with more of them the line is content.
const PADDING_BYTES_MAX: usize = 256;

/// The boundary that the head of a request names, if its body is a form.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next()?, types.next());
    let first = std::str::from_utf8(first.as_bytes()).ok()?;
    if second.is_none()
        && let Some(boundary) = plain_boundary(first)
    {
        return Some(Cow::Borrowed(boundary));
    }
    let (kind, parameters) = parameters(first);
    if second.is_some() || !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    // No boundary ends with a blank: in the body it would be one of those behind it.
    let boundary = find(&parameters, "boundary")?.trim_ascii_end();
    (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()).then(|| Cow::Owned(boundary.to_owned()))
}

/// The boundary of a type that is written as most client libraries write it.
fn plain_boundary(value: &str) -> Option<&str> {
    let boundary = value.strip_prefix("multipart/form-data; boundary=")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) && boundary.bytes().all(plain)).then_some(boundary)
}

/// What comes next in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A part begins.
    Part(Part),
    /// More of its content.
    Content(Bytes),
    /// Its content is complete.
    PartEnd,
    /// The last part is complete. What follows is no part of the form.
    End,
}

/// What the head of a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The name of the form's field.
    pub name: Option<String>,
    /// The media type in lower case, without its parameters.
    pub content_type: Option<String>,
    /// Whether the content is base64 or quoted-printable, which RFC 7578 asks nobody to understand.
    pub encoded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadTooLong;

impl fmt::Display for HeadTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the head of a part has more than {HEAD_BYTES_MAX} bytes")
    }
}

impl std::error::Error for HeadTooLong {}

/// Reads a form. Give it pieces with [`push`](Self::push), and after each take events until there are none.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// Finds the line break in front of a boundary, the two hyphens, and the boundary.
    delimiter: memmem::Finder<'static>,
    /// What has not become events yet.
    buffer: BytesMut,
    stage: Stage,
    /// Whether the buffer begins where a line does.
    line_start: bool,
    /// How much of the buffer holds no end of a head.
    searched: usize,
    /// Whether lines end with a bare line feed, as the last boundary's did.
    bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In front of the first boundary.
    Preamble,
    Head,
    Content,
    /// Behind the last boundary, which is not yet reported.
    Closed,
    Ended,
}

/// A boundary at the beginning of the buffer.
struct Boundary {
    /// Its length, with the line breaks around it.
    bytes: usize,
    /// Whether no part follows.
    closes: bool,
    /// Whether its line ends with a bare line feed.
    bare: bool,
}

/// What stands behind something that may be a boundary.
enum Tail {
    /// The end of the line, and the next part; how long it is.
    Part { bytes: usize, bare: bool },
    /// The two hyphens that close the form.
    Close,
    /// Anything else.
    Content,
    /// It has not arrived yet.
    Missing,
}

impl Scanner {
    /// For a form with this boundary.
    pub(crate) fn new(boundary: &str) -> Self {
        let delimiter = format!("\n--{boundary}");
        Self {
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            buffer: BytesMut::new(),
            stage: Stage::Preamble,
            line_start: true,
            searched: 0,
            bare: false,
        }
    }

    /// The next bytes of the body.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.stage != Stage::Ended {
            self.buffer.extend_from_slice(piece);
        }
    }

    /// What comes next; `None` until more has been pushed.
    ///
    /// # Errors
    /// When the head of a part has no end within [`HEAD_BYTES_MAX`].
    pub(crate) fn poll_event(&mut self) -> Result<Option<Event>, HeadTooLong> {
        loop {
            match self.stage {
                Stage::Preamble | Stage::Content => {
                    let (content, boundary) = self.search();
                    if content > 0 {
                        self.line_start = false;
                        let content = self.buffer.split_to(content).freeze();
                        if self.stage == Stage::Content {
                            return Ok(Some(Event::Content(content)));
                        }
                        continue;
                    }
                    let Some(Boundary { bytes, closes, bare }) = boundary else { return Ok(None) };
                    self.buffer.advance(bytes);
                    (self.bare, self.searched) = (bare, 0);
                    let next = if closes { Stage::Closed } else { Stage::Head };
                    if std::mem::replace(&mut self.stage, next) == Stage::Content {
                        return Ok(Some(Event::PartEnd));
                    }
                }
                Stage::Head => {
                    let Some(end) = self.head_end()? else { return Ok(None) };
                    let head = self.buffer.split_to(end);
                    // A part without content may have its boundary right behind the head.
                    self.line_start = true;
                    self.stage = Stage::Content;
                    return Ok(Some(Event::Part(Part::read(&head))));
                }
                Stage::Closed => {
                    self.buffer = BytesMut::new();
                    self.stage = Stage::Ended;
                    return Ok(Some(Event::End));
                }
                Stage::Ended => return Ok(None),
            }
        }
    }

    /// How many bytes of the buffer are content for sure; and if none are, the boundary that it begins with.
    fn search(&self) -> (usize, Option<Boundary>) {
        let delimiter = self.delimiter.needle();
        // What is left over from before the last event begins somewhere in a line.
        let mut next = if self.line_start {
            let boundary = &delimiter[1..];
            if boundary.starts_with(&self.buffer) {
                return (0, None);
            }
            self.buffer.starts_with(boundary).then_some((0, boundary.len()))
        } else {
            None
        };
        let mut from = 0;
        loop {
            let found = next.take().or_else(|| {
                let at = from + self.delimiter.find(&self.buffer[from..])?;
                from = at + 1;
                let carriage_return = !self.bare && at > 0 && self.buffer[at - 1] == b'\r';
                Some((at - usize::from(carriage_return), at + delimiter.len()))
            });
            // The rest may be the beginning of a boundary, with the carriage return in front of it.
            let Some((start, end)) = found else { return (self.buffer.len().saturating_sub(delimiter.len()), None) };
            let boundary = match tail(&self.buffer[end..]) {
                Tail::Content => continue,
                Tail::Missing => None,
                Tail::Close => Some(Boundary { bytes: end + 2, closes: true, bare: self.bare }),
                Tail::Part { bytes, bare } => Some(Boundary { bytes: end + bytes, closes: false, bare }),
            };
            return (start, boundary.filter(|_| start == 0));
        }
    }

    /// Where the head ends that the buffer begins with, behind the empty line.
    fn head_end(&mut self) -> Result<Option<usize>, HeadTooLong> {
        let end = loop {
            let rest = &self.buffer[self.searched..];
            let line = match self.searched {
                // The head may be empty.
                0 if rest.first().is_none_or(|byte| matches!(byte, b'\r' | b'\n')) => Some(0),
                _ => memchr(b'\n', rest).map(|at| at + 1),
            };
            let Some(line) = line else { break None };
            match &rest[line..] {
                [b'\n', ..] => break Some(self.searched + line + 1),
                [b'\r', b'\n', ..] => break Some(self.searched + line + 2),
                [] | [b'\r'] => break None,
                _ => self.searched += line.max(1),
            }
        };
        match end.unwrap_or(self.buffer.len()) > HEAD_BYTES_MAX {
            true => Err(HeadTooLong),
            false => Ok(end),
        }
    }
}

fn tail(rest: &[u8]) -> Tail {
    if let [b'-', b'-', ..] = rest {
        return Tail::Close;
    }
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).take(PADDING_BYTES_MAX).count();
    match &rest[blanks..] {
        [b'\r', b'\n', ..] => Tail::Part { bytes: blanks + 2, bare: false },
        [b'\n', ..] => Tail::Part { bytes: blanks + 1, bare: true },
        [] | [b'\r'] => Tail::Missing,
        [b'-'] if blanks == 0 => Tail::Missing,
        _ => Tail::Content,
    }
}

impl Part {
    fn read(head: &[u8]) -> Self {
        let mut part = Self::default();
        for (name, value) in fields(&String::from_utf8_lossy(head)) {
            if name.eq_ignore_ascii_case("content-disposition") && part.name.is_none() {
                let (kind, parameters) = parameters(&value);
                if kind.eq_ignore_ascii_case("form-data") {
                    let extended = || find(&parameters, "name*").and_then(extended_value);
                    part.name = find(&parameters, "name").map(str::to_owned).or_else(extended);
                }
            } else if name.eq_ignore_ascii_case("content-type") {
                part.content_type = Some(parameters(&value).0.to_ascii_lowercase());
            } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
                let plain = ["7bit", "8bit", "binary"];
                part.encoded = !plain.iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
            }
        }
        part
    }
}

/// The fields of a part's head. A line that begins with a blank goes on with the one before it.
fn fields(head: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    fields
}

/// The value of a header field: what it begins with, and its parameters, their names in lower case.
fn parameters(value: &str) -> (&str, Vec<(String, Cow<'_, str>)>) {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    let mut parameters = Vec::new();
    while let Some(end) = rest.find(['=', ';']) {
        let name = rest[..end].trim();
        let is_set = rest[end..].starts_with('=');
        rest = &rest[end + 1..];
        if !is_set {
            continue;
        }
        let value = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let (value, behind) = unquote(quoted);
                rest = behind;
                Some(value)
            }
            None => None,
        };
        let (plain, behind) = rest.split_once(';').unwrap_or((rest, ""));
        rest = behind;
        parameters.push((name.to_ascii_lowercase(), value.unwrap_or(Cow::Borrowed(plain.trim()))));
    }
    (kind.trim(), parameters)
}

/// A quoted value without its quotes, and what stands behind it.
fn unquote(quoted: &str) -> (Cow<'_, str>, &str) {
    let mut value = String::new();
    let mut begin = 0;
    let mut marks = quoted.match_indices(['"', '\\']).map(|(at, _)| at);
    while let Some(at) = marks.next() {
        if quoted.as_bytes()[at] == b'"' {
            let last = &quoted[begin..at];
            let value = if value.is_empty() { Cow::Borrowed(last) } else { Cow::Owned(value + last) };
            return (value, &quoted[at + 1..]);
        }
        // Some clients write a path's backslashes as they are.
        if let Some(b'"' | b'\\') = quoted.as_bytes().get(at + 1) {
            value.push_str(&quoted[begin..at]);
            begin = at + 1;
            marks.next();
        }
    }
    (Cow::Owned(value + &quoted[begin..]), "")
}

fn find<'a>(parameters: &'a [(String, Cow<'_, str>)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
}

/// `UTF-8''js%6Fn`, as RFC 5987 writes a text: the character set, the language, the text.
fn extended_value(value: &str) -> Option<String> {
    let text = value.splitn(3, '\'').nth(2)?;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        let escaped = if byte == b'%' { digit(0).zip(digit(1)) } else { None };
        let escaped = escaped.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// What a form holds: each part's name, and its content if it has its end.
    type Parts = Vec<(Option<String>, String)>;

    /// Reads `body`, which comes in pieces of at most `piece` bytes, the first of at most `first`. Returns also whether
    /// the form has its end.
    fn read(boundary: &str, body: &[u8], first: usize, piece: usize) -> Result<(Parts, bool), HeadTooLong> {
        let mut scanner = Scanner::new(boundary);
        let (begin, rest) = body.split_at(first.min(body.len()));
        let (mut parts, mut content, mut ended) = (Parts::new(), Vec::new(), false);
        for piece in [begin].into_iter().chain(rest.chunks(piece)) {
            scanner.push(piece);
            while let Some(event) = scanner.poll_event()? {
                assert!(!ended, "{event:?} behind the end");
                match event {
                    Event::Part(part) => parts.push((part.name, String::new())),
                    Event::Content(bytes) => content.extend_from_slice(&bytes),
                    Event::PartEnd => {
                        parts.last_mut().unwrap().1 = String::from_utf8_lossy(&std::mem::take(&mut content)).into();
                    }
                    Event::End => ended = true,
                }
            }
            let kept = HEAD_BYTES_MAX + boundary.len() + PADDING_BYTES_MAX + 8;
            assert!(scanner.buffer.len() <= kept, "{} bytes are kept", scanner.buffer.len());
        }
        Ok((parts, ended))
    }

    fn part(name: &str, content: &str) -> (Option<String>, String) {
        (Some(name.to_owned()), content.to_owned())
    }

    #[test]
    fn a_form_is_read_the_same_wherever_it_is_split() {
        let crlf = "--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{}\r\n--b--\r\n";
        let json = |form: &str| (form.to_owned(), vec![part("json", "{}")]);
        let cases = [
            json(crlf),
            json(&crlf.replace("\r\n", "\n")),
            json(&crlf.replace("\r\n\r\n", "\n\n")),
            json(crlf.trim_end()),
            json(&crlf.replace("--b", "--b \t")),
            json(&crlf.replace("--b\r", "--b   \r")),
            json(&format!("a preamble\r\nof two lines\r\n{crlf}an epilogue\r\n{crlf}")),
            json(&format!("\r\n{crlf}")),
            (crlf.replace("{}", "a\r\n--bc\r\n--\r\n-- b\n\r"), vec![part("json", "a\r\n--bc\r\n--\r\n-- b\n\r")]),
            (crlf.replace("\r\n", "\n").replace("{}", "{}\r"), vec![part("json", "{}\r")]),
            (crlf.replace("\r\n\r\n{}\r\n--b", "\r\n\r\n--b"), vec![part("json", "")]),
            (crlf.replace("{}", ""), vec![part("json", "")]),
            (crlf.replace("--b\r", "--b\r\n\r\nx\r\n--b\r"), vec![(None, "x".to_owned()), part("json", "{}")]),
            ("--b--".to_owned(), vec![]),
        ];
        for (form, expected) in cases {
            // Blanks between a boundary and its two hyphens close nothing.
            let ended = !form.contains("--b \t--");
            let expected = if ended { expected } else { vec![part("json", "")] };
            for first in 0..form.len() {
                for piece in [1, 3, form.len()] {
                    let found = read("b", form.as_bytes(), first, piece);
                    assert_eq!(found, Ok((expected.clone(), ended)), "{form:?} split at {first}, pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_form_that_breaks_off_has_no_end() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{}\r\n--b--";
        for length in 0..form.len() {
            let (_, ended) = read("b", &form.as_bytes()[..length], 0, 4).unwrap();
            assert!(!ended, "{}", &form[..length]);
        }
        for other in ["", "c", "bb"] {
            assert_eq!(read(other, form.as_bytes(), 0, 7), Ok((vec![], false)), "{other:?}");
        }
    }

    #[test]
    fn the_head_of_a_part_is_read_as_client_libraries_write_it() {
        let json = Some("json".to_owned());
        for (head, expected) in [
            ("Content-Disposition: form-data; name=\"json\"", json.clone()),
            ("content-disposition:form-data;name=\"json\"", json.clone()),
            ("CONTENT-DISPOSITION : FORM-DATA ; NAME = \"json\"", json.clone()),
            ("Content-Disposition: form-data; name=json", json.clone()),
            (
                "Content-Type: application/json; charset=utf-8\r\nContent-Disposition: form-data; name=json",
                json.clone(),
            ),
            ("Content-Disposition: form-data; name*=UTF-8''json", json.clone()),
            ("Content-Disposition: form-data; name*=\"utf-8'en'js%6Fn\"", json.clone()),
            ("Content-Disposition: form-data; name=json; name*=utf-8''json", json.clone()),
            ("Content-Disposition: form-data;\r\n name=\"json\"", json.clone()),
            ("Content-Disposition:\r\n\tform-data;\r\n \tname=\"json\";\r\n filename=\"j.json\"", json.clone()),
            ("Content-Disposition: form-data; filename=\"a; name=file; b\"; name=\"json\"", json.clone()),
            ("Content-Disposition: form-data; filename=\"a\\\"; name=\\\"b\"; name=\"json\"", json.clone()),
            ("Content-Disposition: form-data; filename=\"C:\\dir\\a\"; name=\"json\"", json.clone()),
            ("Content-Disposition: form-data; filename=a b;c; name=json", json.clone()),
            ("Content-Disposition: form-data; filename=\"a\"b\"; name=\"json\"", json.clone()),
            ("Content-Disposition: form-data; filename*=UTF-8''a%3B%20name=b; name=\"json\"", json.clone()),
            ("Content-Disposition: form-data; name=\"js\\\\on\\\"\"", Some("js\\on\"".to_owned())),
            ("no field\r\n: \r\nContent-Disposition: form-data; ; =; name=\"json", json.clone()),
            ("Content-Disposition: form-data; filename=\"name=json\"", None),
            ("Content-Disposition: attachment; name=\"json\"", None),
            ("Content-Disposition: form-data; name", None),
            ("Content-Disposition: form-data; name*=json", None),
            ("Content-Disposition: form-data; name=\"JSON\"", Some("JSON".to_owned())),
            ("X-Content-Disposition: form-data; name=\"json\"", None),
            ("", None),
        ] {
            assert_eq!(Part::read(head.as_bytes()).name, expected, "{head}");
            assert_eq!(Part::read(head.replace('\r', "").as_bytes()).name, expected, "{head} with bare line feeds");
        }
        let part =
            Part::read(b"Content-Type: Application/JSON ; charset=\"utf-8\"\r\nContent-Transfer-Encoding: Binary");
        assert_eq!(part.content_type.as_deref(), Some("application/json"));
        assert!(!part.encoded);
        for encoding in ["base64", "Quoted-Printable", "x-uuencode"] {
            assert!(Part::read(format!("Content-Transfer-Encoding: {encoding}").as_bytes()).encoded, "{encoding}");
        }
    }

    #[test]
    fn the_boundary_is_read_as_client_libraries_write_it() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=b", Some("b")),
            ("Multipart/Form-Data;BOUNDARY=b", Some("b")),
            ("multipart/form-data ; charset=utf-8 ; boundary = \"b\" ; x=y", Some("b")),
            ("multipart/form-data; boundary=----=_Part_1_2.3:4", Some("----=_Part_1_2.3:4")),
            ("multipart/form-data; boundary=\"----=_Part_1_2.3:4\"; type=x", Some("----=_Part_1_2.3:4")),
            ("multipart/form-data; boundary=\"a b ? c\"", Some("a b ? c")),
            ("multipart/form-data; boundary=\"a b \"", Some("a b")),
            ("multipart/form-data; boundary=b, multipart/form-data", Some("b, multipart/form-data")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/mixed; boundary=b", None),
            ("application/json", None),
        ] {
            let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
            assert_eq!(boundary(&headers).as_deref(), expected, "{content_type}");
            headers.append(header::CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(boundary(&headers), None, "{content_type}, twice");
        }
        assert_eq!(boundary(&HeaderMap::new()), None);
        let long = |length| format!("multipart/form-data; boundary={}", "b".repeat(length)).parse().unwrap();
        for (length, right) in [(BOUNDARY_BYTES_MAX, true), (BOUNDARY_BYTES_MAX + 1, false)] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, long(length))]);
            assert_eq!(boundary(&headers).is_some(), right, "{length}");
        }
    }

    #[test]
    fn heads_and_padding_have_a_bound() {
        let form = |filler: usize| {
            format!(
                "--b\r\nContent-Disposition: form-data; name=json\r\nX: {}\r\n\r\n{{}}\r\n--b--",
                "x".repeat(filler)
            )
        };
        let other = form(0).find("\r\n\r\n").unwrap() - "--b".len() + "\r\n".len();
        for piece in [1, 1_000, 1 << 20] {
            let longest = form(HEAD_BYTES_MAX - other);
            assert_eq!(read("b", longest.as_bytes(), 0, piece), Ok((vec![part("json", "{}")], true)));
            let longer = form(HEAD_BYTES_MAX - other + 1);
            assert_eq!(read("b", longer.as_bytes(), 0, piece), Err(HeadTooLong));
            let padding = |blanks| format!("--b{}\r\n\r\nx\r\n--b--", " ".repeat(blanks));
            assert_eq!(read("b", padding(PADDING_BYTES_MAX).as_bytes(), 0, piece).unwrap().0.len(), 1);
            assert_eq!(read("b", padding(PADDING_BYTES_MAX + 1).as_bytes(), 0, piece).unwrap().0.len(), 0);
        }
    }

    #[test]
    fn nothing_makes_it_panic_and_every_split_reads_the_same() {
        // A linear congruential generator (Knuth's MMIX constants), so that a failure comes again.
        let mut state = 7_u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let words = [
            "\r\n",
            "\n",
            "\r",
            "--b",
            "-",
            "--",
            " ",
            "\t",
            "Content-Disposition: form-data",
            ";",
            "name",
            "*",
            "=",
            "\"",
            "\\",
            "json",
            "'",
            "%",
            "%6A",
            "\r\n\r\n",
            "\r\n--b",
            "--b--",
            "x",
            "\u{e9}",
        ];
        for _ in 0..20_000 {
            let mut form = String::new();
            for _ in 0..below(24) {
                let _ = form.write_str(words[below(words.len())]);
            }
            let mut form = form.into_bytes();
            if !form.is_empty() && below(4) == 0 {
                let at = below(form.len());
                form[at] = u8::try_from(below(256)).unwrap();
            }
            let whole = read("b", &form, form.len(), 1);
            for piece in [1, 2, 5] {
                let pieces = read("b", &form, below(form.len() + 1), piece);
                assert_eq!(pieces, whole, "{:?}", String::from_utf8_lossy(&form));
            }
            let _ = parameters(&String::from_utf8_lossy(&form));
        }
    }
}
