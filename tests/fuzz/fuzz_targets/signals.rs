//! A signal as text: read or refused, and the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use typingd::signals::json;
use typingd::signals::trace::TraceLine;

fuzz_target!(|data: &[u8]| {
    match json::parse(data) {
        Ok(parsed) => {
            let conversation = parsed.conversation();
            for id in [conversation.to(), conversation.from()] {
                assert!((1..=240).contains(&id.chars().count()), "{id:?}");
            }
            assert!(parsed.signal.lasts_millis <= 60_000);
            let at = parsed.signal.at.unwrap_or(1_700_000_000_000);
            let mut text = Vec::new();
            TraceLine::new(conversation, parsed.signal, at).write(&mut text).expect("memory takes all");
            let again = json::parse(&text).expect("what was written can be read");
            assert_eq!((again.conversation(), again.signal.kind), (conversation, parsed.signal.kind));
            assert_eq!((again.signal.at, again.signal.lasts_millis), (Some(at), parsed.signal.lasts_millis));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
