//! What a build says of itself: its version, its manual pages, its completions.

use std::path::Path;
use std::process::Command;

use typingd::base::build_info;

use crate::process::{exists, run, run_with, typingd};

/// What a program of the machine says of a file, and whether it is content.
fn judged(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn the_version_is_one_line_that_names_the_build() {
    for flag in ["--version", "-V"] {
        let said = run(&[flag]);
        assert_eq!((said.code, said.stdout), (Some(0), format!("typingd {}\n", build_info::line())));
    }
    assert!(build_info::line().starts_with(env!("CARGO_PKG_VERSION")), "{}", build_info::line());
}

#[test]
fn the_manual_pages_are_whole_and_clean() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("man");
    let said = run(&["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let paths: Vec<&str> = said.stdout.lines().collect();
    let named = |name: &str| paths.iter().any(|path| Path::new(path) == dir.join(name));
    for name in ["typingd.1", "typingd-run.1", "typingd-check.1", "typingd-schema.1", "typingd.toml.5"] {
        assert!(named(name), "{name}: {paths:?}");
    }
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(".TH ") && text.contains(".SH NAME") && text.contains(".SH \"SEE ALSO\""), "{path}");
        // Where there is a formatter, it has nothing to say about them.
        if exists("groff") {
            let (content, said) = judged("groff", &["-man", "-Tutf8", "-Kutf8", "-ww", "-z", path]);
            assert!(content && said.is_empty(), "{path}: {said}");
        }
    }

    // Each can be had by itself, under either name.
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    for (arguments, name) in [
        (&["man"][..], "typingd.1"),
        (&["man", "run"], "typingd-run.1"),
        (&["man", "typingd-run"], "typingd-run.1"),
        (&["man", "typingd.toml"], "typingd.toml.5"),
    ] {
        assert_eq!(run(arguments).stdout, file(name), "{arguments:?}");
    }
    let main = file("typingd.1");
    for words in ["EXIT STATUS", "ENVIRONMENT", "FILES", "TYPINGD_CONFIG", "/etc/typingd/typingd.toml", "SIGHUP"] {
        assert!(main.contains(words) || main.contains(&words.replace('_', "\\_")), "{words}: {main}");
    }

    let said = run(&["man", "rnu"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("there is no page `rnu`; there are typingd, run, check,"), "{said:?}");
    let said = run(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("/proc/nowhere: can't be written"), "{said:?}");
}

#[test]
fn shells_complete_commands_and_options() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run(&["completions", shell]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(said.stdout.contains("simulate") && said.stdout.contains("sandbox"), "{shell}: {}", said.stdout);
        let path = directory.path().join(shell);
        std::fs::write(&path, said.stdout).unwrap();
        if shell != "bash" && exists(shell) && matches!(shell, "zsh" | "fish") {
            let (content, said) = judged(shell, &["-n", path.to_str().unwrap()]);
            assert!(content, "{shell}: {said}");
        }
    }
    // As bash itself would ask.
    let script = format!(
        ". {}\ncomplete -p typingd >/dev/null || exit 1\nCOMP_WORDS=(typingd sim) COMP_CWORD=1\n\
         _typingd typingd sim typingd\necho \"${{COMPREPLY[@]}}\"\n",
        directory.path().join("bash").display()
    );
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc"]);
    let said = run_with(bash, &script);
    assert_eq!((said.code, said.stdout.trim()), (Some(0), "simulate"), "{said:?}");

    let said = run_with(typingd(&["completions", "tcsh"]), "");
    assert_eq!(said.code, Some(2), "{said:?}");
}
