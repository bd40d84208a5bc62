//! The report of `tune` for a browser: where it goes, and what happens when it can't.

use crate::bench::signal_of;
use crate::process::run;

#[test]
fn the_report_is_written_or_its_path_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (trace, page) = (path("t.ndjson"), path("page.html"));
    let line = |at: u64, signal: &str| {
        let mut line = signal_of("c", "<i>ann</i>", signal);
        line["at"] = at.into();
        format!("{line}\n")
    };
    let keys: String = (0..30).map(|i| line(i * 800, "keystroke")).collect();
    std::fs::write(&trace, keys + &line(24_000, "message_sent")).unwrap();
    let small = ["tune", &trace, "--check", "5s,10s", "--dismiss", "2s,5s", "--mode", "idle"];

    let plain = run(&small);
    let with_page = run(&[&small[..], &["--html", &page]].concat());
    assert_eq!((plain.code, with_page.code), (Some(0), Some(0)), "{with_page:?}");
    assert_eq!(plain.stdout, with_page.stdout, "the page is not among the results");
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>\n"));
    assert!(text.contains("&lt;i&gt;ann&lt;/i&gt;") && !text.contains("<i>ann"));

    // A result that keeps no limit has its page, too.
    std::fs::remove_file(&page).unwrap();
    let none = run(&[&small[..], &["--html", &page, "--want", "requests<=0.1"]].concat());
    assert_eq!(none.code, Some(3), "{none:?}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("None of 4\u{a0}settings keeps every limit"));

    let nowhere = path("nowhere/page.html");
    let failed = run(&[&small[..], &["--html", &nowhere]].concat());
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains(&format!("--html {nowhere}: can't be written: ")), "{failed:?}");
    assert_eq!((failed.stderr.lines().count(), failed.stdout.as_str()), (1, ""), "it is tried before the work");
}
