//! The text of an id, without a block of memory of its own as long as it has a usual length.

/// A UUID has 36 bytes.
const INLINE_BYTES: usize = 38;

pub(super) struct Id(Text);

enum Text {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<str>),
}

impl Id {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        Self(match bytes.get_mut(..text.len()) {
            Some(begin) => {
                begin.copy_from_slice(text.as_bytes());
                Text::Inline { len: text.len() as u8, bytes }
            }
            None => Text::Heap(text.into()),
        })
    }

    /// Whether it is this text.
    #[inline]
    pub(super) fn is(&self, text: &str) -> bool {
        match &self.0 {
            Text::Inline { len, bytes } => bytes[..usize::from(*len)] == *text.as_bytes(),
            Text::Heap(own) => **own == *text,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Text::Inline { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).expect("it was a text when it was put in")
            }
            Text::Heap(text) => text,
        }
    }
}

impl std::fmt::Debug for Id {
    /// Leaves the text out: a debug print is what reaches a log by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Id(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_whatever_its_length() {
        for text in ["a", "ü", &"x".repeat(INLINE_BYTES), &"ü".repeat(19), &"ü".repeat(20), &"x".repeat(39)] {
            let id = Id::new(text);
            assert_eq!(id.as_str(), text);
            assert!(id.is(text) && !id.is("") && !id.is(&format!("{text}x")));
            assert!(!format!("{id:?}").contains(text));
        }
        assert_eq!(size_of::<Id>(), 40);
    }
}
