//! The journal's files: any bytes, and a whole one with damage.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Any(&'a [u8]),
    /// Behind the first line of a journal.
    Records(&'a [u8]),
    Damage(Vec<(u16, u8)>),
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Any(bytes) => typingd::fuzz::journal::read(bytes),
    Input::Records(bytes) => typingd::fuzz::journal::read(&[b"typingd-journal 1\n", bytes].concat()),
    Input::Damage(changes) => typingd::fuzz::journal::damage(&changes),
});
