//! The form in which nearly all signals come: an object of strings without escapes and of whole numbers. Whatever else comes,
//! a mistake too, is the general reader's (`json`), which takes some three times as long.

use serde::Deserialize;

use crate::model::{AT_MILLIS_MAX, LASTS_MILLIS_MAX, Signal, SignalKind, check_id};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    to: &'a str,
    from: &'a str,
    signal: &'a str,
    at: Option<u64>,
    lasts: Option<u16>,
}

/// Reads `to`, `from` and the signal from one object; `None` if it needs the other reader, which may find it good all the
/// same. Ids have at most `id_chars_max` characters.
pub(super) fn parse(text: &str, id_chars_max: usize) -> Option<(&str, &str, Signal)> {
    let Plain { to, from, signal, at, lasts } = serde_json::from_str(text).ok()?;
    let kind = SignalKind::from_name(signal)?;
    let is_good = at.is_none_or(|at| at <= AT_MILLIS_MAX)
        && lasts.is_none_or(|lasts| lasts <= LASTS_MILLIS_MAX && kind == SignalKind::Keystroke)
        && [to, from].iter().all(|id| check_id(id, id_chars_max).is_ok());
    is_good.then(|| (to, from, Signal { lasts_millis: lasts.unwrap_or(0), at, ..Signal::new(kind) }))
}
