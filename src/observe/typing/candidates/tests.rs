//! The candidates' counts against what [`tune`](crate::tune) counts of the same typing as a trace.

use std::fmt::Write as _;
use std::io::Cursor;
use std::time::Duration;

use super::*;
use crate::engine::policy::Mode;
use crate::model::{ConversationRef, Signal, SignalKind};
use crate::observe::typing::TypingStats;
use crate::signals::trace::TraceReader;
use crate::tune::icon::Shown;
use crate::tune::play::{Play, play};
use crate::tune::study::Study;
use crate::tune::sums::{Lags, Sums, Typed};
use crate::tune::truth::{Kind, Truth};

/// A signal of a user, at a time in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: u64,
    user: u64,
    kind: SignalKind,
    lasts_millis: u16,
}

fn setting(text: &str) -> Setting {
    text.parse().unwrap()
}

fn policy(setting: Setting, max_typing: Duration) -> Policy {
    Policy { rules: setting.rules(max_typing), ..Policy::default() }
}

/// Typing of `users` as a seed has it: quick keys, pauses around the times of timers, silences, and all ends.
fn random_typing(seed: u64, users: u64, signals: usize, lasting: bool) -> Vec<Told> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut told: Vec<Told> = Vec::new();
    for user in 0..users {
        let mut at = dice.u64(0..5_000);
        let mut last = SignalKind::Opened;
        for _ in 0..signals {
            let wait = match dice.u8(0..20) {
                0..12 => dice.u64(1..400),
                12..16 => [499, 500, 1_000, 1_999, 2_000, 2_001, 5_000][dice.usize(0..7)],
                16..18 => dice.u64(0..9_000),
                18 => [0, 10_000, 29_999, 30_000, 30_001, 32_000, 35_000][dice.usize(0..7)],
                _ => dice.u64(0..90_000),
            };
            let kind = match dice.u8(0..40) {
                0 => SignalKind::MessageSent,
                1 => SignalKind::Stopped,
                2 => SignalKind::Ended,
                3 => SignalKind::Opened,
                _ => SignalKind::Keystroke,
            };
            // A key not later than a message is late, and is not measured.
            at += if last == SignalKind::MessageSent { wait.max(1) } else { wait };
            let lasts = lasting && kind == SignalKind::Keystroke && dice.u8(0..3) == 0;
            let lasts_millis = if lasts { dice.u16(0..12_000) } else { 0 };
            told.push(Told { at, user, kind, lasts_millis });
            last = kind;
        }
    }
    told.sort_by_key(|told| told.at);
    told
}

/// What `tune` counts of it, in the shape of what is counted live.
fn counted_by_tune(told: &[Told], rules: &[Rules]) -> Counts {
    let mut text = String::new();
    for Told { at, user, kind, lasts_millis } in told {
        let lasts = if *lasts_millis > 0 { format!(r#","lasts":{lasts_millis}"#) } else { String::new() };
        let _ = writeln!(text, r#"{{"to":"c","from":"u{user}","signal":"{}","at":{at}{lasts}}}"#, kind.name());
    }
    // The observation goes on until every icon is off.
    let end = told.last().unwrap().at + 20_000_000;
    let _ = writeln!(text, r#"{{"to":"c","from":"last","signal":"opened","at":{end}}}"#);
    let mut study = Study::read([TraceReader::new("t", Cursor::new(text))]).unwrap();
    let away = AWAY.as_millis() as u64;
    study.find_composing(Truth { kind: Kind::Message, away }, None, 0);
    let mut typed = Typed::default();
    study.timelines.iter().for_each(|timeline| typed.add(timeline));
    let each = rules.iter().map(|rules| {
        let (mut sums, mut played, mut shown) = (Sums::default(), Play::default(), Shown::default());
        for timeline in &study.timelines {
            play(timeline, rules, away, &mut played);
            shown.follow(&played.arrivals, None, timeline.end);
            sums.add(timeline, &played, &shown, &mut Lags::default());
        }
        TimingCounts {
            shown_micros: sums.on_composing as u64 * 1_000,
            shown_falsely_micros: (sums.on - sums.on_composing) as u64 * 1_000,
            flickers: sums.flickers as u64,
            timer_stops: sums.timer_stops as u64,
            wrong_stops: sums.wrong_stops as u64,
            started: sums.started as u64,
            stopped: sums.stopped as u64,
        }
    });
    Counts { composing_micros: typed.composing as u64 * 1_000, each: each.collect() }
}

/// What is counted of it live. `seed`: a client reads the figures now and then.
fn counted_live(told: &[Told], in_force: Setting, candidates: &[Setting], max_typing: Duration, seed: u64) -> Counts {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut stats = TypingStats::new(1);
    stats.name_channels(["c"]);
    stats.measure_beside(Instant::ORIGIN, candidates.to_vec(), &policy(in_force, max_typing));
    for Told { at, user, kind, lasts_millis } in told {
        let now = Instant::from_millis(*at);
        if dice.u8(0..20) == 0 {
            let _ = stats.candidates(now);
        }
        let from = format!("u{user}");
        let signal = Signal { lasts_millis: *lasts_millis, ..Signal::new(*kind) };
        stats.on_signals(now, &[(ConversationRef::new("c", &from).unwrap(), signal)]);
    }
    let last = told.last().unwrap().at;
    for later in 0..10_000 {
        stats.look(Instant::from_millis(last + later * 1_000));
    }
    assert_eq!(stats.figures(Instant::from_millis(last + 10_000_000)).measured, 0, "nothing is left of any");
    let figures = stats.candidates(Instant::from_millis(last + 10_000_000)).unwrap();
    assert_eq!(figures.settings, candidates);
    let [channel] = &figures.channels[..] else { panic!("{figures:?}") };
    assert_eq!((&*channel.name, channel.in_force), ("c", in_force));
    channel.counts.clone()
}

#[test]
fn what_is_counted_live_is_what_tune_counts_of_the_trace() {
    const MODES: [Mode; 2] = [Mode::Idle, Mode::AfterShown];
    const TIMES: [u64; 9] = [100, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 35_000, 70_000];
    let mut seen = TimingCounts::default();
    for seed in 0..400 {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0xca4d);
        let mut settings: Vec<Setting> = Vec::new();
        while settings.len() < 1 + seed as usize % 4 {
            let mut time = || TIMES[dice.usize(0..TIMES.len())];
            let (check, dismiss) = (time(), time());
            let setting = Setting { mode: MODES[dice.usize(0..2)], check, dismiss };
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        settings.resize_with(settings.len().max(2), || setting("idle 4s/4s"));
        let max_typing = Duration::from_secs([6, 80, 300][dice.usize(0..3)]).max(Duration::from_secs(70));
        let told = random_typing(seed, 1 + seed % 5, 400, seed % 3 == 0);
        let rules: Vec<Rules> = settings.iter().map(|setting| setting.rules(max_typing)).collect();
        let live = counted_live(&told, settings[0], &settings[1..], max_typing, seed);
        let expected = counted_by_tune(&told, &rules);
        assert_eq!(live, expected, "seed {seed}: {settings:?}");
        for counts in &live.each {
            seen.flickers += counts.flickers;
            seen.wrong_stops += counts.wrong_stops;
            seen.timer_stops += counts.timer_stops;
        }
    }
    assert!(seen.flickers > 10_000 && seen.wrong_stops > 10_000 && seen.timer_stops > seen.wrong_stops, "{seen:?}");
}
