//! A stream of signals, at every split.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, &[u8])| typingd::fuzz::lines(input.1, &input.0));
