//! The report of `tune` for a browser: where it goes, and what happens when it can't.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::bench::signal_of;
use crate::process::{exists, run, until};

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

/// How many pages a browser prints of `page`.
fn printed_pages(browser: &str, page: &Path) -> usize {
    let directory = page.parent().unwrap();
    let pdf = directory.join("page.pdf");
    let mut printing = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"])
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .arg(format!("--print-to-pdf={}", pdf.display()))
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the printed pages", || printing.try_wait().unwrap().is_some());
    // Each page is an object of that type; one of the type Pages has them all.
    let pdf = String::from_utf8_lossy(&std::fs::read(pdf).unwrap()).into_owned();
    let types = pdf.split("/Type").skip(1).map(str::trim_start);
    types.filter(|kind| kind.starts_with("/Page") && !kind.starts_with("/Pages")).count()
}

#[test]
fn the_report_prints_on_two_pages() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.html");
    let typists = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/typists.ndjson");
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|browser| exists(browser));
    let many = "recall>=99%,requests<=1,flicker<=0.01,off_p95<=1s,wrong_stop<=1%,late_wait<=1s,off_early<=1%";
    for options in [&[][..], &["--want", many, "--peak", "100000", "--current", "after_shown:5s/1s"]] {
        let said = run(&[&["tune", typists, "--html", page.to_str().unwrap()], options].concat());
        assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
        let text = std::fs::read_to_string(&page).unwrap();
        // The verdict, then what the agent sees; all else is for the screen.
        let print = text.split_once("@media print").unwrap().1;
        assert!(print.contains("#trade, #ranking, #grid, #notes { display: none; }"), "{print}");
        assert!(print.contains("#typing { break-before: page; margin-top: 0; }"), "{print}");
        if let Some(browser) = browser {
            assert_eq!(printed_pages(browser, &page), 2, "{options:?}");
        }
    }
}
