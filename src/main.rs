//! The `typingd` program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    typingd::cli::main(std::env::args_os())
}
