//! What is known of real typing must come out of real traces: orders and rough sizes, not figures.
//!
//! The traces don't come with the project. Where they are not beside it, these tests say so and are done.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use typingd::engine::policy::Mode::{self, AfterShown, Idle};
use typingd::engine::policy::Rules;
use typingd::signals::trace::TraceReader;
use typingd::tune::plan::{IconTtl, Plan};
use typingd::tune::row::Row;
use typingd::tune::study::Study;
use typingd::tune::timeline::{Event, Happening, Timeline};
use typingd::tune::{Report, tune};

use crate::compare::{self, setting};
use crate::rng::Rng;
use crate::traces::{File, Kind, Line};

/// Two files of free text in which messages are sent, and one in which a draft goes on and on.
const TRACES: [&str; 3] = ["video-comments-de.ndjson", "l2-essays-en.ndjson", "video-comments-de-longform.ndjson"];
const CHECKS: [u64; 6] = [2_000, 3_000, 4_000, 5_000, 10_000, 15_000];
const DISMISSALS: [u64; 8] = [500, 1_000, 2_000, 3_000, 4_000, 5_000, 8_000, 10_000];

/// The directory of the traces, if it is there.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn traces() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside the project, or beside the folder of its worktrees.
    let mut places = ["../shared/traces", "../../shared/traces"].map(|place| root.join(place)).into_iter();
    let directory = places.find(|place| place.is_dir()).unwrap_or_else(|| root.join("../shared/traces"));
    let there = TRACES.iter().all(|name| directory.join(name).is_file());
    if !there {
        println!("skipped: {} has not all of {TRACES:?}", directory.display());
    }
    there.then_some(directory)
}

fn study(directory: &Path, names: &[&str]) -> Study {
    let open = |name: &&str| TraceReader::open(&directory.join(name)).expect("it is there");
    Study::read(names.iter().map(open).collect::<Vec<_>>()).expect("they can be read")
}

fn plan(options: &[(&str, &str)]) -> Plan {
    let list = |times: &[u64]| times.iter().map(|millis| format!("{millis}ms")).collect::<Vec<_>>().join(",");
    let (checks, dismissals) = (list(&CHECKS), list(&DISMISSALS));
    let grid = [("check", checks.as_str()), ("dismiss", dismissals.as_str()), ("current", "after_shown:5s/2s")];
    Plan::new(&Rules::default()).with(grid.into_iter().chain(options.iter().copied())).expect("the options are right")
}

/// The messages of both files under the whole grid; what most relations are read from.
fn measured() -> Option<&'static Report> {
    static REPORT: OnceLock<Option<Report>> = OnceLock::new();
    let tuned = || traces().map(|directory| tune(study(&directory, &TRACES[..2]), &plan(&[]), 2, &|| {}));
    REPORT.get_or_init(tuned).as_ref()
}

fn row(report: &Report, mode: Mode, check: u64, dismiss: u64) -> &Row {
    report.row(setting(mode, check, dismiss)).expect("it was measured")
}

fn recall(row: &Row) -> f64 {
    row.recall.value.expect("they composed")
}

fn flicker(row: &Row) -> f64 {
    row.flicker_per_msg.value.expect("they composed")
}

fn requests(row: &Row) -> f64 {
    row.req_per_min.value.expect("they composed")
}

#[test]
fn idle_beats_the_documented_sample_at_equal_numbers() {
    let Some(report) = measured() else { return };
    let (sample, idle) = (row(report, AfterShown, 5_000, 2_000), row(report, Idle, 5_000, 2_000));
    assert!((0.30..=0.40).contains(&recall(sample)), "{}", recall(sample));
    assert!(recall(idle) > 1.8 * recall(sample), "{}", recall(idle));
    assert!(flicker(idle) < 0.5 * flicker(sample) && requests(idle) < 0.8 * requests(sample));
    assert!(idle.off.p95 < sample.off.p95 && idle.off_early.value < sample.off_early.value);
    assert!(idle.false_on.value < sample.false_on.value);
    // A check after the last key shows the icon once more: nearly two checks, in the worst of cases.
    assert_eq!((idle.off.p50, idle.off.p95), (Some(2_000), Some(2_000)));
    assert!(sample.off.p50.is_some_and(|p50| (3_500..6_000).contains(&p50)), "{:?}", sample.off);
    assert!(sample.off.p95.is_some_and(|p95| (6_000..7_000).contains(&p95)), "{:?}", sample.off);
    assert!(report.warnings.iter().any(|warning| warning.contains("at most 40 %")), "{:?}", report.warnings);
}

#[test]
fn in_idle_the_check_changes_nothing_that_is_seen() {
    let Some(report) = measured() else { return };
    for dismiss in DISMISSALS {
        let rows = CHECKS.map(|check| row(report, Idle, check, dismiss));
        for pair in rows.windows(2) {
            let seen = |row: &Row| {
                let figures = [recall(row), flicker(row), row.false_on.value.unwrap(), row.off_early.value.unwrap()];
                (figures, row.off.p95, row.wrong_stop.value)
            };
            assert_eq!(seen(pair[0]), seen(pair[1]), "dismiss {dismiss}");
            // It costs requests, and makes whoever looks late wait.
            assert!(requests(pair[0]) > requests(pair[1]), "dismiss {dismiss}");
            assert!(pair[0].late_wait.value < pair[1].late_wait.value, "dismiss {dismiss}");
        }
        assert!(rows.iter().all(|row| row.off.max == Some(dismiss)), "gone when dismiss is over, and at once");
    }
    for check in CHECKS {
        for pair in DISMISSALS.windows(2) {
            let (short, long) = (row(report, Idle, check, pair[0]), row(report, Idle, check, pair[1]));
            assert!(recall(short) < recall(long) && flicker(short) > flicker(long), "{check}: {pair:?}");
            assert!(requests(short) > requests(long) && short.wrong_stop.value > long.wrong_stop.value);
            assert!(short.false_on.value < long.false_on.value, "{check}: {pair:?}");
        }
    }
}

#[test]
fn in_after_shown_a_dismissal_as_long_as_the_check_is_a_cliff() {
    let Some(report) = measured() else { return };
    for check in [2_000, 3_000, 4_000, 5_000] {
        let (equal, shorter) = (row(report, AfterShown, check, check), row(report, AfterShown, check, check - 1_000));
        assert!(recall(equal) > recall(shorter) + 0.15, "check {check}");
        assert!(requests(equal) < 0.7 * requests(shorter), "check {check}: no pairs of Stopped and Started");
        assert!(flicker(equal) < 0.2 * flicker(shorter), "check {check}");
        // Below the check, the share is that of dismiss in check; what it flickers is the check's business.
        for dismiss in DISMISSALS.into_iter().filter(|dismiss| *dismiss < check) {
            let row = row(report, AfterShown, check, dismiss);
            let most = dismiss as f64 / check as f64;
            assert!(recall(row) <= most && recall(row) > 0.7 * most, "{check}/{dismiss}: {}", recall(row));
        }
    }
}

#[test]
fn ten_and_five_seconds_halve_misses_flicker_and_requests() {
    let Some(report) = measured() else { return };
    let (quick, slow) = (row(report, Idle, 5_000, 2_000), row(report, Idle, 10_000, 5_000));
    let change = |of: fn(&Row) -> f64| of(slow) / of(quick) - 1.0;
    assert!((-0.75..=-0.50).contains(&change(flicker)), "{}", change(flicker));
    assert!((-0.55..=-0.30).contains(&change(requests)), "{}", change(requests));
    let missed = |row: &Row| 1.0 - recall(row);
    assert!((-0.65..=-0.35).contains(&change(missed)), "{}", change(missed));
    assert_eq!((slow.off.p95, quick.off.p95), (Some(5_000), Some(2_000)), "and cost three seconds");
    let room = |row: &Row| row.safe_composers.expect("they sent requests");
    assert!(room(slow) > room(quick) * 3 / 2, "{} {}", room(slow), room(quick));
    for row in [quick, slow] {
        let [low, high] = row.recall.ci.expect("there are many users");
        assert!(low < recall(row) && recall(row) < high && high - low < 0.15, "{low} {high}");
    }
}

#[test]
fn the_longer_a_silence_may_be_the_more_of_it_is_missed() {
    let Some(directory) = traces() else { return };
    let few = [("mode", "idle,after_shown"), ("check", "5s,10s"), ("dismiss", "2s,5s")];
    let rows = ["10s", "30s", "60s"].map(|away| {
        let options: Vec<_> = few.into_iter().chain([("away", away)]).collect();
        let report = tune(study(&directory, &TRACES[..2]), &plan(&options), 2, &|| {});
        [(AfterShown, 5_000, 2_000), (Idle, 5_000, 2_000), (Idle, 10_000, 5_000)]
            .map(|(mode, check, dismiss)| recall(row(&report, mode, check, dismiss)))
    });
    for pair in rows.windows(2) {
        assert!(pair[0].iter().zip(pair[1]).all(|(short, long)| *short > long), "{rows:?}");
    }
    assert!(rows.iter().all(|[sample, quick, slow]| sample < quick && quick < slow), "the order stays: {rows:?}");
}

#[test]
fn a_receiver_that_drops_icons_wants_a_check_that_comes_sooner() {
    let Some(directory) = traces() else { return };
    let at = |ttl: &str, check: u64| {
        let options = [("icon-ttl", ttl), ("mode", "idle"), ("dismiss", "5s")];
        let report = tune(study(&directory, &TRACES[..2]), &plan(&options), 2, &|| {});
        recall(row(&report, Idle, check, 5_000))
    };
    let kept = at("none", 5_000);
    // check + jitter < R, and at the very millisecond the Started comes in time.
    assert!(at("2s", 2_000) < kept && at("2s", 2_000) > kept - 0.15, "quiet seconds have no refresh");
    assert!(at("2s", 5_000) < 0.55 * kept && at("2s", 5_000) > 0.3 * kept);
    assert!(at("5s", 5_000) > kept - 0.05 && at("5s", 10_000) < 0.7 * kept);
    assert!(at("10s", 10_000) > kept - 0.05 && at("10s", 15_000) < 0.85 * kept);
    let Some(report) = measured() else { return };
    let dropped = row(report, Idle, 5_000, 5_000).dropped.as_ref().and_then(|dropped| dropped.recall.value);
    assert_eq!(dropped, Some(at("2s", 5_000)), "what is told beside it is what that option tells");
    assert_eq!(report.plan.icon_ttl, IconTtl::Unknown);
}

#[test]
fn the_break_even_silence_falls_with_price_and_abandonment() {
    let Some(directory) = traces() else { return };
    let evens = ["none", "0.02", "0.13", "0.33"].map(|abandon| {
        let options = [("abandon", abandon), ("mode", "idle"), ("check", "5s"), ("dismiss", "2s")];
        let report = tune(study(&directory, &TRACES[..2]), &plan(&options), 2, &|| {});
        [1.0, 2.0, 4.0, 9.0].map(|lambda| report.silences.break_even(lambda).expect("some never came back"))
    });
    for even in &evens {
        assert!(even.windows(2).all(|pair| pair[0] > pair[1]), "{evens:?}");
    }
    for pair in evens.windows(2) {
        assert!(pair[0].iter().zip(pair[1]).all(|(few, many)| *few > many), "{evens:?}");
    }
    // Free text with 13 % of drafts abandoned: some ten, eight, five and three seconds.
    for (even, (low, high)) in evens[2].iter().zip([(9_000, 15_000), (6_500, 11_000), (4_000, 8_000), (2_000, 5_000)]) {
        assert!((low..high).contains(even), "{evens:?}");
    }
}

#[test]
fn two_seconds_of_silence_are_mostly_followed_by_more() {
    let Some(report) = measured() else { return };
    let goes_on = |millis| report.silences.resume(millis).expect("there were such silences");
    assert!(goes_on(2_000) > 0.9 && goes_on(10_000) < goes_on(5_000) && goes_on(5_000) < goes_on(2_000));
    // A timer's stop after a silence is wrong about as often as the silence goes on: the one by keys, from the stop on,
    // the other by sends, too, from the last key on.
    for dismiss in [1_000, 2_000, 3_000, 5_000, 8_000] {
        let wrong = row(report, Idle, 5_000, dismiss).wrong_stop.value.unwrap();
        assert!((wrong - goes_on(dismiss)).abs() < 0.06, "{dismiss}: {wrong} {}", goes_on(dismiss));
    }
}

#[test]
fn bursts_are_all_seen_by_whoever_waits_as_long_as_their_gaps() {
    let Some(directory) = traces() else { return };
    let report = tune(study(&directory, &TRACES[..2]), &plan(&[("truth", "burst"), ("mode", "idle")]), 2, &|| {});
    for row in &report.rows {
        // A gap of exactly two seconds is the icon's last millisecond: off and on in one.
        assert_eq!(recall(row) == 1.0, row.setting.dismiss >= 2_000, "{}: {}", row.setting, recall(row));
        assert_eq!(flicker(row) == 0.0, row.setting.dismiss >= 2_000, "{}: {}", row.setting, flicker(row));
    }
}

#[test]
fn a_draft_never_sent_has_no_unannounced_message() {
    let Some(directory) = traces() else { return };
    let report = tune(study(&directory, &TRACES[2..]), &plan(&[]), 2, &|| {});
    assert!(report.typed.sent == 0.0 && report.typed.abandoned > 0.0 && report.study.users == 4);
    assert!(report.rows.iter().all(|row| row.off_early.value.is_none()));
    let order = [(AfterShown, 5_000, 2_000), (Idle, 5_000, 2_000), (Idle, 10_000, 5_000)]
        .map(|(mode, check, dismiss)| recall(row(&report, mode, check, dismiss)));
    assert!(order[0] < 0.4 && order[0] < order[1] && order[1] < order[2], "{order:?}");
}

/// A limit that the lower bound keeps on one half of the users is kept on the other, but for one split in eight.
#[test]
fn a_kept_limit_breaks_on_the_other_half_seldom() {
    let Some(directory) = traces() else { return };
    let whole = study(&directory, &["l2-essays-en.ndjson", "video-comments-de.ndjson"]);
    let text = |users: &[usize]| -> File {
        let of = |(place, timeline): (usize, &Timeline)| {
            let line = move |event: &Event| {
                let kind = match event.happening() {
                    Happening::Key => Kind::Key,
                    Happening::Sent => Kind::Sent,
                    Happening::Cleared => Kind::Stopped,
                    Happening::Closed => Kind::Ended,
                };
                Line { at: event.at(), to: "c".into(), from: format!("u{place}"), kind }
            };
            timeline.events.iter().map(line).collect::<Vec<_>>()
        };
        let own = whole.timelines.iter().enumerate().filter(|(_, timeline)| users.contains(&(timeline.user as usize)));
        let mut lines: File = own.flat_map(of).collect();
        lines.sort_by_key(|line| line.at);
        lines
    };
    let (mut kept, mut broken) = (0, 0);
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut users: Vec<usize> = (0..whole.users).collect();
        for place in (1..users.len()).rev() {
            users.swap(place, rng.below(place as u64 + 1) as usize);
        }
        let halves = [&users[..users.len() / 2], &users[users.len() / 2..]].map(text);
        for bound in ["70%", "75%", "80%", "85%", "90%", "95%"] {
            let want = format!("recall>={bound}");
            let plan = plan(&[("want", &want), ("check", "5s"), ("dismiss", "1s..10s"), ("mode", "idle")]);
            let [one, other] = [0, 1].map(|half| tune(compare::study(&halves[half..=half]), &plan, 2, &|| {}));
            for (row, there) in one.rows.iter().zip(&other.rows) {
                // The nearest to the limit that keeps it: what a search for the least would take.
                let least = one.rows.iter().filter(|row| row.meets).map(|row| row.setting.dismiss).min();
                if Some(row.setting.dismiss) == least {
                    kept += 1;
                    broken += usize::from(plan.wants[0].miss(recall(there)) > 0.0);
                }
            }
        }
    }
    assert!(kept >= 40, "{kept} limits are kept on a half");
    assert!(broken * 100 <= kept * 12, "{broken} of {kept} break on the other half");
}
