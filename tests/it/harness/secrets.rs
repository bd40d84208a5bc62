//! What the daemons under test are given, and must never write into a log: tokens, keys, end users' ids.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// Of all tests of this process: an id that one daemon was given has no business in the log of another, either.
static GIVEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// Enough to meet a leak, and few enough to look for.
const GIVEN_MAX: usize = 20_000;
/// How much of a body is looked through.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Ids that tests like to give, although they are words without a digit.
const NAMES: [&str; 4] = ["ann", "bob", "cid", "dora"];

/// Remembers the end users in a body, of whatever kind it is.
pub(crate) fn note_body(body: &[u8]) {
    let text = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]);
    for rest in text.split("\"from\"").skip(1) {
        let value = rest.trim_start().strip_prefix(':').and_then(|rest| rest.trim_start().strip_prefix('"'));
        if let Some((id, _)) = value.and_then(|value| value.split_once('"')) {
            note(id);
        }
    }
}

/// Remembers the token in a header.
pub(crate) fn note_header(value: &str) {
    if let Some(token) = value.strip_prefix("Bearer ") {
        note(token);
    }
}

/// Remembers a secret, if finding it in a log tells something: a word of the language does not.
pub(crate) fn note(secret: &str) {
    let has = |is: fn(char) -> bool| secret.contains(is);
    let telling = secret.len() >= 4 && has(char::is_alphabetic) && has(|c| !c.is_alphabetic());
    let mut given = GIVEN.lock().unwrap();
    if (telling || NAMES.contains(&secret)) && given.len() < GIVEN_MAX {
        given.insert(secret.to_owned());
    }
}

/// What a log tells of all that was given.
pub(crate) fn told_in(log: &str) -> Vec<String> {
    let in_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let words: BTreeSet<_> = log.split(|c| !in_word(c)).collect();
    let given = GIVEN.lock().unwrap();
    let told = |secret: &&String| match secret.chars().all(in_word) {
        true => words.contains(secret.as_str()),
        false => log.contains(secret.as_str()),
    };
    let mut found: Vec<_> = given.iter().filter(told).cloned().collect();
    found.extend(log.contains("PRIVATE KEY-----").then(|| "a private key".to_owned()));
    found
}
