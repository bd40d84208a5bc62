//! Records of the journal as bytes, and what a file of them says.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::base::files::must_be_regular;
use crate::model::{CHANNEL_CHARS_MAX, Conversation, ConversationRef, USER_CHARS_MAX};

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

/// The longest payload: ids of the most characters, of four bytes each.
const PAYLOAD_BYTES_MAX: usize = PAYLOAD_BYTES_MIN + 4 * (CHANNEL_CHARS_MAX + USER_CHARS_MAX);

/// One record off the front of `bytes`, and its length; `None` if there is no whole and valid one.
pub(super) fn decode(bytes: &[u8]) -> Option<(Kind, u64, ConversationRef<'_>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let length = usize::from(u16::from_le_bytes(head[..2].try_into().ok()?));
    let payload = rest.get(..length).filter(|_| (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&length))?;
    let kind = match payload[0] {
        1 => Kind::Showing,
        2 => Kind::Gone,
        _ => return None,
    };
    let at = u64::from_le_bytes(payload[1..9].try_into().ok()?);
    let to_bytes = usize::from(u16::from_le_bytes(payload[9..11].try_into().ok()?));
    let (to, from) = payload[PAYLOAD_BYTES_MIN..].split_at_checked(to_bytes)?;
    // The dearest check last: behind damage each byte may be the first of a record.
    if crc32fast::hash(payload) != u32::from_le_bytes(head[2..].try_into().ok()?) {
        return None;
    }
    let conversation = ConversationRef::new(std::str::from_utf8(to).ok()?, std::str::from_utf8(from).ok()?).ok()?;
    Some((kind, at, conversation, HEAD_BYTES + length))
}

/// How many bytes of `rest`, which does not begin with an intact record, come before the next one; all, if none does. Where
/// the damaged one says that it ends is not believed: its length may be what is damaged, and skip others.
fn damaged_bytes(rest: &[u8]) -> usize {
    (1..rest.len()).find(|at| decode(&rest[*at..]).is_some()).unwrap_or(rest.len())
}

/// What of a file is no intact record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where the first such bytes are.
    pub(super) first: usize,
    pub(super) places: usize,
    pub(super) bytes: usize,
}

impl Damage {
    fn note(&mut self, offset: usize, bytes: usize) {
        if self.places == 0 {
            self.first = offset;
        }
        self.places += 1;
        self.bytes += bytes;
    }
}

/// A file is no journal of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign;

/// What is showing according to the files.
#[derive(Default)]
pub(super) struct Showing {
    pub(super) icons: HashMap<Conversation, (u64, u64)>,
    records: u64,
}

impl Showing {
    /// Reads all intact records of a file. Returns whether the file is not needed any more once they are elsewhere.
    pub(super) fn read(&mut self, path: &Path, complaints: &mut Vec<String>) -> bool {
        let path_shown = path.display();
        let mut bytes = Vec::new();
        // Opening a pipe would block for ever.
        let file = must_be_regular(path).and_then(|()| File::open(path));
        if let Err(error) = file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            complaints.push(format!("{path_shown} can't be read: {error}; its icons may stay on"));
            return false;
        }
        match self.take(&bytes) {
            Ok(Damage { places: 0, .. }) => true,
            Ok(Damage { first, places, bytes: lost }) => {
                let places = if places == 1 { String::new() } else { format!(" and in {} other places", places - 1) };
                complaints.push(format!(
                    "{path_shown} is broken at byte {first} of {}{places}, {lost} bytes in all; every other record has \
                     been read",
                    bytes.len()
                ));
                true
            }
            Err(Foreign) => {
                let aside = path.with_extension("foreign");
                let kept = fs::rename(path, &aside).map_or(path, |()| &aside);
                complaints.push(format!("{path_shown} is no journal of this version; kept as {}", kept.display()));
                false
            }
        }
    }

    /// Takes all intact records of a file's `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Damage, Foreign> {
        let mut damage = Damage::default();
        // A start that died before its first write leaves an empty or short file, which holds nothing.
        if MAGIC.starts_with(bytes) {
            return Ok(damage);
        }
        let mut offset = MAGIC.len();
        if !bytes.starts_with(MAGIC) {
            // Damage there costs no record; what holds none is something else. (Another version of the format has to
            // begin its checksums with other bytes, too.)
            if !intact_from(bytes, offset) {
                return Err(Foreign);
            }
            damage.note(0, MAGIC.len());
        }
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let Some((kind, at, conversation, length)) = decode(rest) else {
                let skipped = damaged_bytes(rest);
                damage.note(offset, skipped);
                offset += skipped;
                continue;
            };
            offset += length;
            self.records += 1;
            match kind {
                Kind::Showing => {
                    self.icons.insert(conversation.to_owned(), (self.records, at));
                }
                Kind::Gone => {
                    self.icons.remove(&conversation.to_owned());
                }
            }
        }
        Ok(damage)
    }

    pub(super) fn in_order(self) -> Vec<(Conversation, u64)> {
        let mut all: Vec<_> = self.icons.into_iter().collect();
        all.sort_by_key(|(_, (record, _))| *record);
        all.into_iter().map(|(conversation, (_, at))| (conversation, at)).collect()
    }
}

/// Whether there is an intact record at `offset` or behind it.
fn intact_from(bytes: &[u8], offset: usize) -> bool {
    (offset..bytes.len()).any(|at| decode(&bytes[at..]).is_some())
}
