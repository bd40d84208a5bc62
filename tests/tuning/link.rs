//! Requests that take time and get lost: the whole engine over a simulated link.

use std::time::Duration;

use typingd::engine::policy::{Mode, Rules};
use typingd::model::Indicator;
use typingd::tune::plan::{IconTtl, Plan};
use typingd::tune::play::{Link, Play, play, play_over};
use typingd::tune::timeline::Timeline;
use typingd::tune::{Report, tune};

use crate::compare::{setting, study};
use crate::rng::Rng;
use crate::traces::{File, Kind, Line, Shape, made_up, text};

const AWAY: u64 = 30_000;

fn rules(mode: Mode, check: u64, dismiss: u64) -> Rules {
    setting(mode, check, dismiss).rules(Duration::from_secs(300))
}

#[test]
fn over_a_perfect_link_engine_and_timing_agree() {
    let (mut alone, mut whole) = (Play::default(), Play::default());
    let mut told = 0;
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed);
        let files = made_up(&mut rng, Shape { files: 1, users: 2, lines: 80, scale: 1 });
        let mode = if seed % 2 == 0 { Mode::Idle } else { Mode::AfterShown };
        let (check, dismiss) = (1 + rng.below(40), 1 + rng.below(40));
        let rules = setting(mode, check, dismiss).rules(Duration::from_millis(20 + rng.below(300)));
        let away = 1 + rng.below(100);
        for timeline in &study(&files).timelines {
            play(timeline, &rules, away, &mut alone);
            play_over(Link::PERFECT, timeline, &rules, away, seed, &mut whole);
            let traces: String = files.iter().map(|lines| text(lines)).collect();
            assert_eq!(whole, alone, "seed {seed}, {mode:?} {check}/{dismiss}:\n{traces}");
            told += alone.arrivals.len();
        }
    }
    assert!(told > 20_000, "{told}");
}

/// Messages of steady typing, a minute apart, each of another user, and a while in which everything can come to its end.
fn isolated(lengths: &[u64]) -> File {
    let mut lines: File = Vec::new();
    for (number, length) in lengths.iter().enumerate() {
        let start = number as u64 * 100_000;
        let line = |at, kind| Line { at: start + at, to: "c".into(), from: format!("u{number}"), kind };
        lines.extend((0..*length).step_by(200).map(|at| line(at, Kind::Key)));
        lines.push(line(*length, Kind::Sent));
    }
    let quiet = lines.last().map_or(0, |last| last.at) + 90_000;
    lines.push(Line { at: quiet, to: "c".into(), from: "nobody".into(), kind: Kind::Opened });
    lines
}

fn tuned(files: &[File], how: (Mode, u64, u64), link: Link) -> Report {
    let mut plan = Plan::new(&Rules::default());
    plan.current = setting(how.0, how.1, how.2);
    plan.grid = vec![plan.current];
    plan.icon_ttl = IconTtl::Never;
    plan.link = link;
    tune(study(files), &plan, 1, &|| {})
}

#[test]
fn a_slow_link_costs_each_message_its_latency() {
    let lengths = [10_000, 3_000, 7_000, 20_000, 400];
    let composing: u64 = lengths.iter().sum();
    for latency in [1, 50, 300, 1_000, 2_500] {
        for check in [1_000, 5_000] {
            let row = tuned(&[isolated(&lengths)], (Mode::Idle, check, 2_000), Link { latency, loss: 0.0 }).current;
            let on = (row.on.n, row.on.p50, row.on.p95, row.on.max);
            assert_eq!(on, (lengths.len(), Some(latency), Some(latency), Some(latency)), "{latency} {check}");
            let missed: u64 = lengths.iter().map(|length| latency.min(*length)).sum();
            let recall = 1.0 - missed as f64 / composing as f64;
            assert!((row.recall.value.unwrap() - recall).abs() < 1e-9, "{latency} {check}: {row:?}");
            // A message that is over before its icon is seen comes unannounced.
            let early = lengths.iter().filter(|length| **length <= latency).count();
            assert_eq!(row.off_early.value, Some(early as f64 / lengths.len() as f64), "{latency} {check}");
        }
    }
    // Gone after 1 s of silence 5 s after the first key, which the far side hears 300 ms later.
    let draft: File = isolated(&[5_000]).into_iter().filter(|line| line.kind != Kind::Sent).collect();
    let row = tuned(&[draft], (Mode::Idle, 3_000, 1_000), Link { latency: 300, loss: 0.0 }).current;
    assert_eq!((row.off.n, row.off.max), (1, Some(1_300)));
}

/// Of a link that loses requests: what each conversation was told, and when the icon first came.
fn lossy(lengths: &[u64], how: (Mode, u64, u64), loss: f64) -> Vec<(Timeline, Play)> {
    let rules = rules(how.0, how.1, how.2);
    let timelines = study(&[isolated(lengths)]).timelines;
    let play = |(number, timeline): (usize, Timeline)| {
        let mut play = Play::default();
        play_over(Link { latency: 0, loss }, &timeline, &rules, AWAY, 42 + number as u64, &mut play);
        (timeline, play)
    };
    timelines.into_iter().enumerate().map(play).collect()
}

#[test]
fn a_lost_started_costs_a_check_or_all_of_a_shorter_message() {
    let first_on = |(timeline, play): &(Timeline, Play)| {
        let started = |at: &&typingd::tune::play::Arrival| at.reason.indicator() == Indicator::TypingStarted;
        play.arrivals.iter().find(started).map(|on| on.at - timeline.events[0].at())
    };
    let loss = 0.2;
    // A daemon that waits 5 s for an answer finds out that nothing came of it at the check, not before.
    for check in [5_000, 8_000, 10_000] {
        let long = lossy(&[40_000; 400], (Mode::Idle, check, 2_000), loss);
        let delays: Vec<u64> = long.iter().filter_map(first_on).collect();
        assert!(delays.iter().all(|delay| delay % check == 0), "the icon comes at a check: {delays:?}");
        let late = delays.iter().filter(|delay| **delay > 0).count() as f64 / 400.0;
        assert!((0.14..0.26).contains(&late), "about one in five: {late}");
        // One in five costs a check, one in 25 two of them, and so on: a quarter of a check on average.
        let mean = delays.iter().sum::<u64>() as f64 / 400.0;
        assert!((0.17..0.33).contains(&(mean / check as f64)), "check {check}: {mean} ms");
        // Messages that are over before the next check are never shown, be it long: that costs what they last.
        let short = lossy(&[4_000; 400], (Mode::Idle, check, 2_000), loss);
        assert!(short.iter().all(|one| first_on(one).is_none_or(|delay| delay == 0)), "check {check}");
        let unseen = short.iter().filter(|one| first_on(one).is_none()).count() as f64 / 400.0;
        assert!((0.14..0.26).contains(&unseen), "about one in five: {unseen}");
    }
    // And so recall falls by as much.
    let recall = |check| {
        let report = tuned(&[isolated(&[40_000; 400])], (Mode::Idle, check, 2_000), Link { latency: 0, loss });
        report.current.recall.value.unwrap()
    };
    let cost = |check: f64| 0.25 * check / 40_000.0;
    for check in [5_000, 10_000] {
        let lost = 1.0 - recall(check);
        assert!((0.6..1.4).contains(&(lost / cost(check as f64))), "check {check}: {lost}");
    }
}

#[test]
fn a_lost_stopped_is_told_again_until_it_arrives() {
    for (mode, loss) in [(Mode::Idle, 0.3), (Mode::AfterShown, 0.3), (Mode::Idle, 0.6)] {
        let told = lossy(&[9_000; 300], (mode, 5_000, 2_000), loss);
        let (mut seen, mut late) = (0, 0);
        for (timeline, play) in &told {
            let Some(last) = play.arrivals.last() else { continue };
            let shown = play.arrivals.iter().any(|told| told.reason.indicator() == Indicator::TypingStarted);
            // A minute of tries, five seconds each and more: all of them lost is one in thousands at a loss of 0.3.
            assert!(!shown || loss > 0.5 || last.reason.indicator() == Indicator::TypingStopped, "{play:?}");
            let sent = timeline.events.last().unwrap().at();
            seen += usize::from(shown);
            late += usize::from(shown && last.at > sent + 2_000);
        }
        let share = late as f64 / seen as f64;
        assert!((0.7 * loss..1.3 * loss).contains(&share), "{mode:?} {loss}: {share} of the icons go off late");
        let (started, stopped) =
            told.iter().fold((0, 0), |(on, off), (_, play)| (on + play.started, off + play.stopped));
        let twice = told.len() as u64 * if mode == Mode::Idle { 2 } else { 3 };
        assert!(stopped * 10 > told.len() as u64 * 12, "stops are retried: {stopped}");
        assert!(started <= twice, "Starteds are not: {started}");
    }
}

#[test]
fn a_link_that_loses_everything_shows_nothing_and_ends() {
    let report = tuned(&[isolated(&[9_000; 20])], (Mode::Idle, 5_000, 2_000), Link { latency: 700, loss: 1.0 });
    let row = &report.current;
    assert_eq!((row.recall.value, row.off_early.value, row.false_on.value), (Some(0.0), Some(1.0), None));
    assert_eq!((row.on.n, row.late_wait.value, row.late_wait_p99), (0, None, None));
    assert!(row.started >= 20 && row.stopped > 20, "an icon that may be on is told off: {row:?}");
}

#[test]
fn losses_and_abandoned_messages_are_drawn_apart() {
    let share = 0.5;
    let files = [isolated(&[3_000; 400])];
    let mut plan = Plan::new(&Rules::default());
    plan.grid = vec![plan.current];
    plan.abandon = Some(share);
    plan.link = Link { latency: 0, loss: share };
    let report = tune(study(&files), &plan, 1, &|| {});
    let rules = plan.current.rules(plan.max_typing);
    let mut both = 0;
    let mut abandoned = 0;
    for (number, timeline) in report.study.timelines.iter().enumerate() {
        let mut play = Play::default();
        play_over(plan.link, timeline, &rules, AWAY, plan.seed + number as u64, &mut play);
        let lost = play.arrivals.first().is_none_or(|told| told.at > timeline.events[0].at());
        let given_up = timeline.events.iter().all(|event| event.happening() == typingd::tune::timeline::Happening::Key);
        abandoned += usize::from(given_up);
        both += usize::from(given_up && lost);
    }
    assert!((160..240).contains(&abandoned), "{abandoned} of 400");
    assert!((70..130).contains(&both), "a quarter of 400 is both, not {both}");
    assert_eq!(report.typed.abandoned as usize, abandoned);
}

#[test]
fn the_same_seed_loses_the_same_requests() {
    let files = [isolated(&[9_000; 50])];
    let json = |seed: u64| {
        let mut plan = Plan::new(&Rules::default());
        plan.grid = vec![setting(Mode::Idle, 5_000, 2_000), setting(Mode::AfterShown, 5_000, 2_000)];
        plan.link = Link { latency: 80, loss: 0.1 };
        plan.seed = seed;
        typingd::tune::json::report(&tune(study(&files), &plan, 1, &|| {}))
    };
    assert_eq!(json(7), json(7));
    assert_ne!(json(7)["rows"], json(1_000)["rows"], "conversation n draws by the seed plus n");
}
