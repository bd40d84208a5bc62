//! Answers of the token endpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, [Vec<u8>; 4], &[u8])| {
    let (status, [retry_after, date, location, media], body) = &input;
    let headers: [(&str, &[u8]); 4] =
        [("retry-after", retry_after), ("date", date), ("location", location), ("content-type", media)];
    typingd::fuzz::salesforce::token_answer(*status, &headers, body);
});
