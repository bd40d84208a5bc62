//! For fuzzing: forms at every split.

use super::interaction::{Search, only_json};
use crate::http::multipart::{Event, Scanner};

/// A form is the same parts whatever pieces it comes in; `cuts` says how long each is.
pub fn form(data: &[u8], cuts: &[u8]) {
    let mut rest = data;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, others) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    let whole = events(&[data]);
    assert_eq!(events(&pieces), whole);
    let single: Vec<_> = data.chunks(1).collect();
    assert_eq!(events(&single), whole);
    assert_eq!(found(&pieces), found(&[data]));
    if let Some(json) = only_json("b", data) {
        let events = whole.expect("its head is short");
        assert!(
            matches!(&events[..], [Event::Part(_), Event::Content(content), Event::PartEnd, Event::End] if content == json)
        );
    }
}

/// What the form holds, with each part's content in one; `Err` where a head is too long.
fn events(pieces: &[&[u8]]) -> Result<Vec<Event>, Vec<Event>> {
    let mut scanner = Scanner::new("b");
    let mut seen: Vec<Event> = Vec::new();
    for piece in pieces {
        scanner.push(piece);
        loop {
            match scanner.poll_event() {
                Ok(Some(Event::Content(bytes))) => {
                    assert!(!bytes.is_empty());
                    match seen.last_mut() {
                        Some(Event::Content(content)) => *content = [&content[..], &bytes[..]].concat().into(),
                        _ => seen.push(Event::Content(bytes)),
                    }
                }
                Ok(Some(event)) => seen.push(event),
                Ok(None) => break,
                Err(_) => return Err(seen),
            }
        }
    }
    Ok(seen)
}

/// The interaction that is found, whichever piece brings it.
fn found(pieces: &[&[u8]]) -> Option<String> {
    let mut search = Search::new("b");
    for piece in pieces {
        if let Some(interaction) = search.find(piece)? {
            return Some(format!("{interaction:?}"));
        }
    }
    None
}
