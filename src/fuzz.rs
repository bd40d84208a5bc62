//! What the targets of `tests/fuzz` reach of the private parts, each with what must hold of it. Built only for them, with
//! `--cfg fuzzing`.

pub use crate::drop_in::fuzz as drop_in;
pub use crate::journal::fuzz as journal;
pub use crate::salesforce::fuzz as salesforce;

use crate::signals::json;
use crate::signals::lines::Lines;

/// What came of a line: that it was too long, not a signal, or the signal's text.
fn read(line: Option<&[u8]>) -> String {
    match line.map(json::parse) {
        None => "overlong".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(parsed)) => format!("{:?} {:?}", parsed.conversation(), parsed.signal),
    }
}

/// A stream of signals is the same lines whatever pieces it comes in; `cuts` says how long each is.
pub fn lines(data: &[u8], cuts: &[u8]) {
    let whole = lines_of([data]);
    let mut rest = data;
    let pieces = cuts.iter().map(|cut| {
        let (piece, others) = rest.split_at((usize::from(*cut)).min(rest.len()));
        rest = others;
        piece
    });
    let mut pieces: Vec<_> = pieces.collect();
    pieces.push(rest);
    assert_eq!(lines_of(pieces), whole);
    assert_eq!(lines_of(data.chunks(1)), whole);
}

fn lines_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(usize, String)> {
    let mut lines = Lines::default();
    let mut seen = Vec::new();
    for piece in pieces {
        lines.feed(piece, |index, line| seen.push((index, read(line.ok()))));
    }
    lines.finish(|index, line| seen.push((index, read(line.ok()))));
    assert!(seen.iter().enumerate().all(|(at, (index, _))| at == *index));
    seen
}
