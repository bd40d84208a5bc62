//! `Via` (RFC 9110, section 7.6.3): the header by which a request that comes back is recognised, and refused.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use uuid::Uuid;

/// How many typingd a request may have passed. Two may be a chain on purpose; three are a loop.
const PASSED_MAX: usize = 2;
/// What the name of each typingd starts with.
const NAME: &str = "typingd-";

/// This process's name, `typingd-` and a random id.
static OWN_NAME: LazyLock<String> = LazyLock::new(|| format!("{NAME}{:016x}", Uuid::new_v4().as_u64_pair().0));
static OWN: LazyLock<HeaderValue> =
    LazyLock::new(|| HeaderValue::try_from(format!("1.1 {}", *OWN_NAME)).expect("a name of letters, digits and `-`"));

/// Why a request is in a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// It has passed this process.
    Own,
    /// It has passed too many typingd, whichever they were.
    Many,
}

/// The member for this process.
pub(crate) fn own() -> &'static HeaderValue {
    &OWN
}

/// Adds this process to those that a request has passed: as a further member of the list, if there is one.
pub(crate) fn append(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::VIA).iter();
    let Some(last) = values.next_back().filter(|last| !last.as_bytes().trim_ascii().is_empty()) else {
        headers.append(header::VIA, OWN.clone());
        return;
    };
    let longer = [last.as_bytes(), b", ", OWN.as_bytes()].concat();
    let longer = HeaderValue::from_bytes(&longer).expect("two valid values with a comma between");
    if let header::Entry::Occupied(mut values) = headers.entry(header::VIA)
        && let Some(last) = values.iter_mut().next_back()
    {
        *last = longer;
    }
}

/// Whether a request is in a loop.
pub(crate) fn find_loop(headers: &HeaderMap) -> Option<Loop> {
    let mut passed = 0;
    for value in headers.get_all(header::VIA) {
        for name in names(value.as_bytes()) {
            if name.eq_ignore_ascii_case(OWN_NAME.as_bytes()) {
                return Some(Loop::Own);
            }
            let typingd = name.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME.as_bytes()));
            passed += usize::from(typingd);
        }
    }
    (passed > PASSED_MAX).then_some(Loop::Many)
}

/// The `received-by` of each member of a list: its second word. Comments, in parentheses, are left out.
fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut depth = 0_usize;
    let members = list.split(move |byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *byte == b',' && depth == 0
    });
    members.filter_map(|member| {
        let mut words = member.split(|byte| matches!(byte, b' ' | b'\t' | b'(')).filter(|word| !word.is_empty());
        words.nth(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::VIA, value.parse().unwrap())).collect()
    }

    fn listed(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(header::VIA).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_list_grows_by_one_member_at_its_end() {
        let own = own().to_str().unwrap();
        for (before, after) in [
            (&[][..], vec![own.to_owned()]),
            (&["1.1 a"], vec![format!("1.1 a, {own}")]),
            (
                &["1.0 a (x, y), HTTP/2 b:443", "1.1 c"],
                vec!["1.0 a (x, y), HTTP/2 b:443".into(), format!("1.1 c, {own}")],
            ),
        ] {
            let mut headers = headers(before);
            append(&mut headers);
            assert_eq!(listed(&headers), after);
        }
        let mut empty = headers(&[""]);
        append(&mut empty);
        assert_eq!(find_loop(&empty), Some(Loop::Own));
    }

    #[test]
    fn a_loop_is_this_process_once_or_three_typingd_in_all() {
        let own = own().to_str().unwrap();
        let upper = own.to_ascii_uppercase();
        let (one, two) = ("1.1 typingd-1", "1.1 typingd-1, 1.1 typingd-2");
        for (values, expected) in [
            (&[][..], None),
            (&["1.1 proxy"], None),
            (&[one], None),
            (&[two], None),
            (&[two, "1.1 other (typingd-3)"], None),
            (&[two, "1.1 (1.1 typingd-3, 1.1 typingd-4) x"], None),
            (&["typingd-1, typingd-2, typingd-3"], None),
            (&[own], Some(Loop::Own)),
            (&[&upper], Some(Loop::Own)),
            (&["1.1 a", &format!("1.1 b (c, d) , {own} (e)")], Some(Loop::Own)),
            (&[&format!("1.1 a,\t{own}(x)")], Some(Loop::Own)),
            (&[two, one], Some(Loop::Many)),
            (&["1.1 typingd-1,1.1 typingd-1 ,HTTP/2 TypingD-1"], Some(Loop::Many)),
            (&["1.1 a((((", two, one], Some(Loop::Many)),
        ] {
            assert_eq!(find_loop(&headers(values)), expected, "{values:?}");
        }
    }
}
