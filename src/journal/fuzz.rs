//! For fuzzing: the journal's files as a disk may give them back.

use super::records::{Kind, MAGIC, Showing, encode, encode_all};
use crate::model::ConversationRef;

const NOW: u64 = 1_800_000_000_000;

/// Whatever a file holds, it is read to its end.
pub fn read(data: &[u8]) {
    let mut showing = Showing::default();
    if let Ok(damage) = showing.take(data) {
        assert!(damage.bytes <= data.len() && damage.places <= damage.bytes);
        assert!(damage.places == 0 || damage.first < data.len());
    }
    let _ = showing.in_order();
}

/// A whole file of twenty icons, of which each of `changes` damages a byte: no more icons are lost than bytes damaged, and
/// none is made up.
pub fn damage(changes: &[(u16, u8)]) {
    let names: Vec<_> = (0..20).map(|number| format!("user-{number:02}")).collect();
    let pair = |from| ConversationRef::new("channel", from).expect("a valid pair");
    let mut bytes = encode_all(names.iter().map(|name| (pair(name), NOW)));
    encode(&mut bytes, Kind::Gone, pair("user-13"), 0);
    let mut damaged = Vec::new();
    for (at, mask) in changes {
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= mask;
        damaged.push(at);
    }
    damaged.sort_unstable();
    damaged.dedup();
    let records = damaged.iter().filter(|at| **at >= MAGIC.len()).count();
    let mut showing = Showing::default();
    let Ok(_) = showing.take(&bytes) else {
        assert!(records >= names.len(), "a file with intact records is a journal");
        return;
    };
    let kept: Vec<_> = showing.in_order().into_iter().map(|(icon, _)| icon.from().to_owned()).collect();
    assert!(kept.iter().all(|name| names.contains(name)), "{kept:?}");
    let lost = names.iter().filter(|name| *name != "user-13" && !kept.contains(name)).count();
    assert!(lost <= records, "{lost} lost by {records} bytes: {kept:?}");
}
