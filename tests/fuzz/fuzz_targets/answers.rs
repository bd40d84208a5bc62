//! Answers of the Interaction Service.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, bool, Vec<u8>, Vec<u8>, &[u8])| {
    let (status, whole, retry_after, date, body) = input;
    typingd::fuzz::salesforce::answer(status, &[("retry-after", &retry_after), ("date", &date)], body, whole);
});
