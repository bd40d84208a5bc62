//! The cache, by itself: what serves whom, what is refused for how long, and how much is kept.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::sets::Sets;
use super::*;
use crate::model::Instant;
use Indicator::{TypingStarted, TypingStopped};

const ANY: Within<'static> = Within { org_id: b"", authorization_context: b"" };
const ORG: &str = "00DXX0000000001";

fn headers(token: &str, org_id: &str, context: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(ORG_ID, org_id.parse().unwrap());
    headers.insert(AUTHORIZATION_CONTEXT, context.parse().unwrap());
    headers
}

fn set_of(token: &str, org_id: &str, context: &str) -> Credentials {
    Credentials::of(&headers(token, org_id, context)).unwrap()
}

fn set(token: &str) -> Credentials {
    set_of(token, ORG, "A")
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The token that an indicator of a conversation of channel `c` would leave with.
fn token(sets: &mut Sets, now: u64, own: Option<CredentialId>, indicator: Indicator, within: Within<'_>) -> String {
    match sets.select(at(now), "c", own, indicator, within) {
        Ok((_, set)) => set.secret().to_owned(),
        Err(NoneGood { again_after: None }) => "none".to_owned(),
        Err(NoneGood { again_after: Some(wait) }) => format!("none for {} ms", wait.as_millis()),
    }
}

#[test]
fn credentials_are_three_headers_each_once_and_bounded() {
    let of = |headers: &HeaderMap| Credentials::of(headers);
    assert_eq!(set("t").secret(), "t");
    for name in [header::AUTHORIZATION, ORG_ID, AUTHORIZATION_CONTEXT] {
        let mut without = headers("t", ORG, "A");
        without.remove(&name);
        assert_eq!(of(&without), None, "no {name}");
        without.insert(&name, HeaderValue::from_static(" "));
        assert_eq!(of(&without), None, "empty {name}");
        let mut twice = headers("t", ORG, "A");
        twice.append(&name, HeaderValue::from_static("other"));
        assert_eq!(of(&twice), None, "two of {name}");
    }
    let rest = "Bearer ".len() + ORG.len() + "A".len();
    for (bytes, cached) in [(SET_BYTES_MAX - rest, true), (SET_BYTES_MAX - rest + 1, false)] {
        assert_eq!(of(&headers(&"x".repeat(bytes), ORG, "A")).is_some(), cached, "{bytes} bytes");
    }
}

#[test]
fn an_org_is_known_by_its_first_fifteen_characters() {
    for (a, b, same) in [
        (ORG, ORG, true),
        (ORG, "00DXX0000000001AAA", true),
        ("00DXX0000000001EAY", "00DXX0000000001", true),
        (ORG, "00DXX0000000002", false),
        (ORG, "00Dxx0000000001", false),
        (ORG, "00DXX000000000", false),
        (ORG, "", false),
    ] {
        assert_eq!(same_org(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
        assert_eq!(same_org(b.as_bytes(), a.as_bytes()), same, "{b} {a}");
    }
}

/// What is known of an own set and of another of the channel, and what leaves with which.
#[test]
fn a_started_has_its_own_credentials_a_stop_accepted_ones() {
    let accepted = |sets: &mut Sets, id| sets.accept(id, None);
    let refused = |sets: &mut Sets, id| sets.reject(id, at(30_000), None, None);
    let untried = |_: &mut Sets, _: CredentialId| {};
    type Change = fn(&mut Sets, CredentialId);
    let (accepted, refused, untried): (Change, Change, Change) = (accepted, refused, untried);
    let cases: [(&str, Change, Credentials, Change, &str, &str); 9] = [
        ("untried is good enough", untried, set("other"), accepted, "own", "own"),
        ("accepted", accepted, set("other"), accepted, "own", "own"),
        ("refused", refused, set("other"), accepted, "none for 29000 ms", "other"),
        ("the other is untried", refused, set("other"), untried, "none for 29000 ms", "none for 29000 ms"),
        ("the other is refused", refused, set("other"), refused, "none for 29000 ms", "none for 29000 ms"),
        (
            "another org",
            refused,
            set_of("other", "00DXX0000000002", "A"),
            accepted,
            "none for 29000 ms",
            "none for 29000 ms",
        ),
        (
            "the longer form",
            refused,
            set_of("other", "00DXX0000000001AAA", "A"),
            accepted,
            "none for 29000 ms",
            "other",
        ),
        ("another context", refused, set_of("other", ORG, "B"), accepted, "none for 29000 ms", "none for 29000 ms"),
        (
            "refused and accepted again",
            |sets, id| {
                sets.reject(id, at(30_000), None, None);
                sets.accept(id, None);
            },
            set("other"),
            accepted,
            "own",
            "own",
        ),
    ];
    for (name, of_own, other, of_other, started, stopped) in cases {
        let mut sets = Sets::default();
        let own = sets.show(at(0), "c", &set("own")).id;
        let other = sets.show(at(0), "c", &other).id;
        of_other(&mut sets, other);
        of_own(&mut sets, own);
        assert_eq!(token(&mut sets, 1_000, Some(own), TypingStarted, ANY), started, "{name}");
        assert_eq!(token(&mut sets, 1_000, Some(own), TypingStopped, ANY), stopped, "{name}");
        assert_eq!(token(&mut sets, 30_000, Some(own), TypingStarted, ANY), "own", "{name}: asked anew");
    }
}

#[test]
fn a_stop_without_credentials_uses_the_last_accepted() {
    let mut sets = Sets::default();
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "none");
    let show = |sets: &mut Sets, set: &Credentials| sets.show(at(0), "c", set).id;
    let [first, second] = ["first", "second"].map(|token| show(&mut sets, &set(token)));
    let third = show(&mut sets, &set_of("third", "00DXX0000000002", "B"));
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "none", "untried");
    for id in [first, third, second] {
        sets.accept(id, None);
    }
    let within = |org_id: &'static str, context: &'static str| Within {
        org_id: org_id.as_bytes(),
        authorization_context: context.as_bytes(),
    };
    for (within, expected) in [
        (ANY, "second"),
        (within(ORG, ""), "second"),
        (within("00DXX0000000002", ""), "third"),
        (within("", "B"), "third"),
        (within(ORG, "B"), "none"),
    ] {
        assert_eq!(token(&mut sets, 0, None, TypingStopped, within), expected, "{within:?}");
        assert_eq!(token(&mut sets, 0, None, TypingStarted, within), "none", "{within:?}");
    }
    // One that is refused gives way to the one before, and touches no other.
    sets.reject(second, at(30_000), None, None);
    assert_eq!(token(&mut sets, 0, None, TypingStopped, within(ORG, "")), "first");
    sets.accept(first, None);
    sets.reject(second, at(30_000), None, None);
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "first", "a late refusal");
    assert_eq!(sets.select(at(0), "d", None, TypingStopped, ANY).err(), Some(NoneGood { again_after: None }));
}

#[test]
fn a_rejection_is_repeated_to_the_same_credentials_for_a_time() {
    let mut sets = Sets::default();
    let dead = sets.show(at(0), "c", &set("dead"));
    assert_eq!(dead.rejection, None);
    sets.reject(dead.id, at(30_000), Some(10_004), Some("expired"));
    let rejection = |message: &str| Some(Rejection { code: 10_004, message: message.into() });
    for (channel, now, expected) in
        [("c", 29_999, rejection("expired")), ("d", 29_999, rejection("expired")), ("c", 30_000, None)]
    {
        let shown = sets.show(at(now), channel, &set("dead"));
        assert_eq!((shown.id, shown.rejection), (dead.id, expected), "{channel} {now}");
    }
    assert_eq!(sets.show(at(1), "c", &set("good")).rejection, None);
    // Of a request that passed only the status is known.
    sets.reject(dead.id, at(60_000), None, None);
    assert_eq!(sets.show(at(30_001), "c", &set("dead")).rejection, rejection("expired"));
    let other = sets.show(at(0), "c", &set("other")).id;
    sets.reject(other, at(60_000), None, None);
    let told = sets.show(at(1), "c", &set("other")).rejection.unwrap();
    assert!(told.code == 10_004 && !told.message.is_empty(), "{told:?}");
    // What is said of it anew holds, a code or a message alone too.
    for (code, message, expected) in [
        (Some(10_003), None, (10_003, &*told.message)),
        (None, None, (10_003, &*told.message)),
        (None, Some("revoked"), (10_004, "revoked")),
        (None, None, (10_004, "revoked")),
    ] {
        sets.reject(other, at(60_000), code, message);
        let told = sets.show(at(1), "c", &set("other")).rejection.unwrap();
        assert_eq!((told.code, &*told.message), expected);
    }
    assert_eq!((sets.find(&set("other")), sets.find(&set("never shown"))), (Some(other), None));
}

#[test]
fn each_set_is_kept_once_and_the_least_recent_makes_room() {
    let mut sets = Sets::default();
    let token_of = |i: usize| set(&i.to_string());
    let first = sets.show(at(0), "c", &token_of(0)).id;
    let second = sets.show(at(0), "c", &token_of(1)).id;
    for i in 2..SETS_MAX {
        sets.show(at(0), "c", &token_of(i));
    }
    assert_eq!(sets.show(at(0), "c", &token_of(0)).id, first, "once");
    assert_eq!(sets.sizes(), [SETS_MAX, SETS_MAX, SETS_MAX, 1]);
    let new = sets.show(at(0), "c", &token_of(SETS_MAX)).id;
    assert_eq!(sets.sizes(), [SETS_MAX, SETS_MAX, SETS_MAX, 1]);
    assert_eq!((sets.find(&token_of(1)), sets.find(&token_of(0))), (None, Some(first)));
    // The place is another's now: what names the set that is gone says nothing of it.
    assert_ne!(new, second);
    sets.reject(second, at(30_000), None, None);
    sets.accept(second, Some("c"));
    assert_eq!(token(&mut sets, 0, Some(second), TypingStarted, ANY), "none", "gone");
    assert_eq!(token(&mut sets, 0, Some(new), TypingStarted, ANY), SETS_MAX.to_string());
    sets.accept(new, None);
    assert_eq!(token(&mut sets, 0, Some(second), TypingStopped, ANY), SETS_MAX.to_string());
    // A hundred times around, no id comes again.
    let mut ids = std::collections::HashSet::new();
    for i in 0..3 * SETS_MAX {
        assert!(ids.insert(sets.show(at(0), "c", &set(&format!("x{i}"))).id));
    }
}

#[test]
fn a_channels_accepted_sets_stay_within_a_bound() {
    let mut sets = Sets::default();
    let good = sets.show(at(0), "c", &set("good")).id;
    sets.accept(good, None);
    for i in 0..3 * SETS_PER_CHANNEL_MAX {
        sets.show(at(0), "c", &set(&i.to_string()));
    }
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "good");
    for i in 0..=CHANNELS_MAX {
        sets.show(at(0), &format!("channel {i}"), &set("good"));
    }
    assert_eq!(sets.sizes()[3], CHANNELS_MAX);
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "none", "the channel is forgotten");
    // What serves a channel without having been shown for it is remembered.
    sets.accept(good, Some("c"));
    assert_eq!(token(&mut sets, 0, None, TypingStopped, ANY), "good");
}

#[test]
fn a_channel_is_told_of_once_when_it_has_got_an_accepted_set() {
    let mut sets = Sets::default();
    let news = |sets: &mut Sets| {
        let mut news = sets.take_news();
        news.sort();
        assert!(!sets.has_news());
        news.iter().map(|name| &**name).collect::<Vec<_>>().join(" ")
    };
    let id = sets.show(at(0), "c", &set("t")).id;
    sets.show(at(0), "d", &set("t"));
    sets.show(at(0), "e", &set("other"));
    assert_eq!(news(&mut sets), "");
    sets.accept(id, None);
    assert_eq!(news(&mut sets), "c d");
    sets.accept(id, Some("c"));
    assert_eq!(news(&mut sets), "", "it was accepted before");
    sets.show(at(0), "e", &set("t"));
    assert_eq!(news(&mut sets), "e");
    sets.reject(id, at(30_000), None, None);
    assert_eq!(news(&mut sets), "");
    sets.accept(id, None);
    assert_eq!(news(&mut sets), "c d e");
    sets.accept(id, Some("f"));
    assert_eq!(news(&mut sets), "f");
}

#[test]
fn no_waiter_misses_an_acceptance_and_no_secret_is_printed() {
    let cache = CredentialCache::new(Clock::start(), REFUSED_FOR);
    let poll = |cache: &CredentialCache| pin!(cache.acceptances()).poll(&mut Context::from_waker(Waker::noop()));
    let shown = cache.show("c", &set("s3cret"));
    assert!(poll(&cache).is_pending());
    cache.accept(shown.id, None);
    assert_eq!(poll(&cache), Poll::Ready(vec!["c".into()]));
    assert!(poll(&cache).is_pending());
    let mut waiting = pin!(cache.acceptances());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    cache.show("d", &set("s3cret"));
    assert_eq!(waiting.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(vec!["d".into()]));
    let set = set("s3cret");
    assert!(!format!("{cache:?}{set:?}{:?}{shown:?}", set.authorization).contains("s3cret"));
}
