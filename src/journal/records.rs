//! Records of the journal as bytes, and what a file of them says.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::model::{Conversation, ConversationRef};

/// No generation grows as large as this.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// The first bytes of every file.
pub(super) const MAGIC: &[u8; 18] = b"typingd-journal 1\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Showing = 1,
    Gone = 2,
}

pub(super) fn encode_all<'a>(showing: impl Iterator<Item = (ConversationRef<'a>, u64)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (conversation, at) in showing {
        encode(&mut bytes, Kind::Showing, conversation, at);
    }
    bytes
}

/// A record: the payload's length (u16), its CRC-32 (u32), and the payload: kind (u8), time (u64), the length of `to`
/// (u16), `to`, `from`. Numbers are little-endian.
pub(super) fn encode(bytes: &mut Vec<u8>, kind: Kind, conversation: ConversationRef<'_>, at: u64) {
    let (to, from) = (conversation.to().as_bytes(), conversation.from().as_bytes());
    let start = bytes.len();
    let length = |bytes: usize| u16::try_from(bytes).expect("two ids of 255 characters are below 2,100 bytes");
    bytes.extend_from_slice(&length(PAYLOAD_BYTES_MIN + to.len() + from.len()).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(kind as u8);
    bytes.extend_from_slice(&at.to_le_bytes());
    bytes.extend_from_slice(&length(to.len()).to_le_bytes());
    bytes.extend_from_slice(to);
    bytes.extend_from_slice(from);
    let crc = crc32fast::hash(&bytes[start + HEAD_BYTES..]);
    bytes[start + 2..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}

const HEAD_BYTES: usize = 6;
const PAYLOAD_BYTES_MIN: usize = 11;

/// One record off the front of `bytes`, and its length; `None` if there is no whole and valid one.
pub(super) fn decode(bytes: &[u8]) -> Option<(Kind, u64, ConversationRef<'_>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = usize::from(u16::from_le_bytes(head[..2].try_into().ok()?));
    let payload = rest.get(..length).filter(|payload| payload.len() >= PAYLOAD_BYTES_MIN)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(head[2..].try_into().ok()?) {
        return None;
    }
    let kind = match payload[0] {
        1 => Kind::Showing,
        2 => Kind::Gone,
        _ => return None,
    };
    let at = u64::from_le_bytes(payload[1..9].try_into().ok()?);
    let to_bytes = usize::from(u16::from_le_bytes(payload[9..11].try_into().ok()?));
    let (to, from) = payload[PAYLOAD_BYTES_MIN..].split_at_checked(to_bytes)?;
    let conversation = ConversationRef::new(std::str::from_utf8(to).ok()?, std::str::from_utf8(from).ok()?).ok()?;
    Some((kind, at, conversation, HEAD_BYTES + length))
}

/// What is showing according to the files.
#[derive(Default)]
pub(super) struct Showing {
    pub(super) icons: HashMap<Conversation, (u64, u64)>,
    records: u64,
}

impl Showing {
    /// Reads a file as far as it is valid.
    pub(super) fn read(&mut self, path: &Path, complaints: &mut Vec<String>) {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if let Err(error) = read {
            complaints.push(format!("{} can't be read: {error}; its icons may stay on", path.display()));
            return;
        }
        let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
            // A start that died before its first write leaves an empty or short file, which holds nothing.
            if !MAGIC.starts_with(&bytes) {
                let aside = path.with_extension("foreign");
                let kept = fs::rename(path, &aside).map_or(path, |()| &aside);
                complaints.push(format!(
                    "{} is no journal of this version; kept as {}",
                    path.display(),
                    kept.display()
                ));
            }
            return;
        };
        while !rest.is_empty() {
            let Some((kind, at, conversation, length)) = decode(rest) else {
                let offset = bytes.len() - rest.len();
                complaints.push(format!(
                    "{} is broken at byte {offset} of {}; the records before it have been read",
                    path.display(),
                    bytes.len()
                ));
                return;
            };
            self.records += 1;
            match kind {
                Kind::Showing => {
                    self.icons.insert(conversation.to_owned(), (self.records, at));
                }
                Kind::Gone => {
                    self.icons.remove(&conversation.to_owned());
                }
            }
            rest = &rest[length..];
        }
    }

    pub(super) fn in_order(self) -> Vec<(Conversation, u64)> {
        let mut all: Vec<_> = self.icons.into_iter().collect();
        all.sort_by_key(|(_, (record, _))| *record);
        all.into_iter().map(|(conversation, (_, at))| (conversation, at)).collect()
    }
}
