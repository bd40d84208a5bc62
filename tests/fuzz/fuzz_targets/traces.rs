//! A trace: read to its end or to its first fault, its times never going back, and played.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use typingd::engine::policy::Policy;
use typingd::signals::trace::TraceReader;
use typingd::tune::simulate::simulate_within;

fuzz_target!(|data: &[u8]| {
    let reader = || TraceReader::new("trace", Cursor::new(data.to_vec()));
    let (mut trace, mut last) = (reader(), 0);
    while let Ok(Some((at, parsed))) = trace.next_line() {
        assert!(at >= last, "{at} after {last}");
        last = at;
        let _ = parsed.conversation();
    }
    let mut output = Vec::new();
    let _ = simulate_within(10_000, vec![reader(), reader()], &Policy::default(), &mut output);
    for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(line.starts_with(b"{") && line.ends_with(b"}"));
    }
});
