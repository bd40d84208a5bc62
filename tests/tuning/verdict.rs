//! The verdict of `tune`: by its definition, on recordings that something is wrong with, and as recordings grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use typingd::engine::policy::{Mode, Rules};
use typingd::model::ChannelAddress;
use typingd::tune::decision::Verdict;
use typingd::tune::plan::{IconTtl, Plan, Setting};
use typingd::tune::row::Row;
use typingd::tune::{Report, tune};

use crate::compare::{setting, study};
use crate::rng::Rng;
use crate::traces::{File, Kind, Line, Shape, made_up};

/// A few settings of both modes, so that each test takes a moment.
fn small(choices: &[(&'static str, &'static str)]) -> Plan {
    let grid = [("check", "2s,5s,10s"), ("dismiss", "1s,2s,3s,5s,8s,10s")];
    Plan::new(&Rules::default()).with(grid.into_iter().chain(choices.iter().copied())).expect("the options are right")
}

/// Chats of `users` on the channel `to`: words with pauses between them, most of them sent, some given up.
fn chats(rng: &mut Rng, to: &str, users: u64, messages: u64) -> File {
    let mut lines: Vec<Line> = (0..users).flat_map(|user| chat(rng, to, &format!("{to}-{user}"), messages)).collect();
    lines.sort_by_key(|line| line.at);
    lines
}

fn chat(rng: &mut Rng, to: &str, from: &str, messages: u64) -> File {
    let mut lines = Vec::new();
    let mut at = rng.below(20_000);
    let mut say = |at: u64, kind| lines.push(Line { at, to: to.into(), from: from.into(), kind });
    for message in 0..messages {
        for _ in 0..4 + rng.below(5) {
            for _ in 0..8 {
                say(at, Kind::Key);
                at += 90 + rng.below(150);
            }
            at += 400 + rng.below(9) * rng.below(9) * 110;
        }
        if message % 5 == 4 {
            at += 40_000;
        } else {
            say(at, Kind::Sent);
        }
        at += 2_000 + rng.below(10_000);
    }
    say(at, Kind::Opened);
    lines
}

fn tuned(lines: &File, plan: &Plan) -> Report {
    tune(study(std::slice::from_ref(lines)), plan, 2, &|| {})
}

fn why(report: &Report) -> String {
    report.decision.why.join("\n")
}

/// Holds a report to what must be true of every verdict.
fn sound(report: &Report) {
    let decision = &report.decision;
    assert_eq!(decision.advice.is_some(), decision.verdict == Verdict::Change, "{decision:?}");
    assert!(!decision.why.is_empty(), "a verdict has a reason");
    if let (Some(advice), true) = (decision.advice, report.plan.wants.is_empty()) {
        assert_ne!(advice, report.current.setting);
        let [low, high] = decision.gain.expect("a change has a gain").cost;
        assert!(low > 0.0 && high - low <= (low + high) / 2.0, "{decision:?}");
        let longest = advice.longest(&report.plan);
        assert!(decision.linger_max.is_none_or(|most| longest <= most), "{advice} lingers: {decision:?}");
    }
}

/// The best setting by its definition: every candidate against every other, nothing clever.
fn best_by_definition(
    report: &Report,
    linger_max: Option<u64>,
    known: fn(&Row) -> f64,
    feared: fn(&Row) -> f64,
) -> Option<Setting> {
    let now = report.plan.current;
    let open: Vec<&Row> = report
        .ranking
        .iter()
        .map(|place| &report.rows[*place])
        .filter(|row| linger_max.is_none_or(|most| row.setting.longest(&report.plan) <= most))
        .collect();
    let least = |rows: &[&Row], cost: fn(&Row) -> f64| rows.iter().map(|row| cost(row)).fold(f64::INFINITY, f64::min);
    let of_mode: Vec<&Row> = open.iter().copied().filter(|row| row.setting.mode == now.mode).collect();
    // The other mode has to be better by more than a tenth of what it costs.
    let stays = least(&of_mode, known) <= 1.1 * least(&open, known) && !of_mode.is_empty();
    let open: Vec<&Row> = open.into_iter().filter(|row| (row.setting.mode == now.mode) == stays).collect();
    let good = 1.02 * least(&open, known);
    let mut dismissals: Vec<u64> =
        open.iter().filter(|row| known(row) <= good).map(|row| row.setting.dismiss).collect();
    dismissals.sort_unstable();
    let dismiss = if dismissals.contains(&now.dismiss) { now.dismiss } else { *dismissals.first()? };
    let open: Vec<&Row> = open.into_iter().filter(|row| row.setting.dismiss == dismiss).collect();
    let good = 1.02 * least(&open, feared);
    let mut checks: Vec<&Row> = open.into_iter().filter(|row| feared(row) <= good).collect();
    checks.sort_by_key(|row| row.setting.check);
    let in_force = checks.iter().find(|row| row.setting.check == now.check).copied();
    Some(in_force.or(checks.last().copied())?.setting)
}

#[test]
fn the_decision_is_what_its_definition_says() {
    let known: fn(&Row) -> f64 = |row| row.sights[0].cost.unwrap_or(f64::NAN);
    let feared: fn(&Row) -> f64 = |row| row.sights.iter().filter_map(|sight| sight.cost).fold(0.0, f64::max);
    let second: fn(&Row) -> f64 = |row| row.sights[1].cost.unwrap_or(f64::NAN);
    let mut verdicts = [0; 3];
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let (users, messages) = (3 + rng.below(14), 6 + rng.below(9));
        let lines = chats(&mut rng, "c", users, messages);
        let current =
            ["5s/2s", "10s/8s", "after_shown:5s/2s", "after_shown:2s/2s", "idle:2s/3s"][rng.below(5) as usize];
        let false_cost = ["1", "2", "4", "9"][rng.below(4) as usize];
        let ttl: &[(&str, &str)] = if rng.below(2) == 0 { &[] } else { &[("icon-ttl", "none")] };
        let plan = small(&[&[("current", current), ("false-cost", false_cost)], ttl].concat());
        let report = tuned(&lines, &plan);
        sound(&report);
        let decision = &report.decision;
        assert_eq!(decision.linger_max, report.silences.linger_max(plan.false_cost));
        let best = best_by_definition(&report, decision.linger_max, known, feared);
        assert_eq!(decision.best, best, "seed {seed}");
        assert_eq!(decision.conditions[0].1, best_by_definition(&report, decision.linger_max, known, known));
        if plan.icon_ttl == IconTtl::Unknown {
            assert_eq!(decision.conditions[1].1, best_by_definition(&report, decision.linger_max, second, second));
        }
        let few = report.study.users < 10 || report.typed.messages < 100.0;
        let gain = decision.gain.map(|gain| gain.cost);
        let worst = feared(&report.current);
        let expected = match (best, gain) {
            _ if few => Verdict::NotEnoughData,
            (Some(best), _) if best == report.current.setting => Verdict::Keep,
            (Some(_), Some([low, high])) if low <= 0.0 && high >= 0.0 || (low + high) / 2.0 < 0.05 * worst => {
                Verdict::Keep
            }
            (Some(_), Some([low, high])) if high - low > (low + high) / 2.0 => Verdict::NotEnoughData,
            (Some(_), Some(_)) => Verdict::Change,
            _ => Verdict::Keep,
        };
        assert_eq!(decision.verdict, expected, "seed {seed}: {}", why(&report));
        verdicts[expected as usize] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 0), "every verdict is met: {verdicts:?}");
}

#[test]
fn a_user_repeated_changes_nothing_but_their_number() {
    let mut rng = Rng::new(3);
    let once = chats(&mut rng, "c", 12, 12);
    let mut twice = once.clone();
    twice.extend(once.iter().map(|line| Line { from: format!("{}-again", line.from), ..line.clone() }));
    twice.sort_by_key(|line| line.at);
    let plan = small(&[("peak", "20")]);
    let [once, twice] = [once, twice].map(|lines| tuned(&lines, &plan));
    assert_eq!(once.study.users * 2, twice.study.users);
    assert_eq!(once.decision.best, twice.decision.best);
    assert_eq!(
        (once.decision.verdict, &once.decision.conditions),
        (twice.decision.verdict, &twice.decision.conditions)
    );
    for (one, two) in once.rows.iter().zip(&twice.rows) {
        let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-9;
        assert!(near(one.recall.value, two.recall.value) && near(one.req_per_min.value, two.req_per_min.value));
        let width = |row: &Row| row.recall.ci.map(|[low, high]| high - low).unwrap();
        assert!(width(two) <= width(one), "more users say no less");
    }
}

#[test]
fn an_unsent_draft_more_never_lets_an_icon_linger_longer() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut lines = chats(&mut rng, "c", 6, 8);
        let plan = small(&[("false-cost", ["1", "4", "9"][rng.below(3) as usize]), ("mode", "idle")]);
        let mut before = tuned(&lines, &plan).decision.linger_max;
        for draft in 0..4 {
            let end = lines.last().map_or(0, |line| line.at);
            let from = format!("drafter-{draft}");
            lines.push(Line { at: end, to: "c".into(), from: from.clone(), kind: Kind::Key });
            lines.push(Line { at: end + 31_000, to: "c".into(), from, kind: Kind::Opened });
            let after = tuned(&lines, &plan).decision.linger_max;
            let longer = after.unwrap_or(u64::MAX) > before.unwrap_or(u64::MAX);
            assert!(!longer, "seed {seed}: from {before:?} to {after:?}");
            before = after;
        }
    }
}

#[test]
fn more_data_never_turns_change_into_doubtful_advice() {
    let mut changes = 0;
    for seed in 0..8 {
        let mut rng = Rng::new(100 + seed);
        let mut lines = File::new();
        for part in 0..4 {
            lines.extend(
                chats(&mut rng, "c", 6, 10)
                    .into_iter()
                    .map(|line| Line { from: format!("{}-{part}", line.from), ..line }),
            );
            lines.sort_by_key(|line| line.at);
            let report = tuned(&lines, &small(&[("current", "after_shown:5s/2s")]));
            // What holds of every advice: its interval excludes nought and is no wider than what is gained.
            sound(&report);
            changes += usize::from(report.decision.verdict == Verdict::Change);
        }
    }
    assert!(changes > 4, "{changes}");
}

#[test]
fn the_mode_in_force_stays_unless_the_other_is_much_better() {
    let mut rng = Rng::new(5);
    let lines = chats(&mut rng, "c", 14, 12);
    for current in ["idle:5s/2s", "after_shown:5s/5s"] {
        let report = tuned(&lines, &small(&[("current", current), ("icon-ttl", "none"), ("false-cost", "2")]));
        sound(&report);
        let best = report.decision.best.expect("some setting is the best");
        let cost = |mode: Mode| {
            let rows = report.rows.iter().filter(|row| row.setting.mode == mode);
            let within = rows.filter(|row| row.setting.longest(&report.plan) <= report.decision.linger_max.unwrap());
            within.filter_map(|row| row.sights[0].cost).fold(f64::INFINITY, f64::min)
        };
        let (own, other) = match report.current.setting.mode {
            Mode::Idle => (Mode::Idle, Mode::AfterShown),
            Mode::AfterShown => (Mode::AfterShown, Mode::Idle),
        };
        assert_eq!(best.mode == own, cost(own) <= 1.1 * cost(other), "{current}: {best}");
    }
}

#[test]
fn limits_are_kept_by_the_worse_end_and_say_their_chance() {
    let mut rng = Rng::new(9);
    let lines = chats(&mut rng, "c", 12, 12);
    let wants = "recall>=80%,off_p95<=5s";
    let report = tuned(&lines, &small(&[("want", wants), ("icon-ttl", "none")]));
    let mut both = [0; 2];
    for row in &report.rows {
        let chance = row.chance.expect("both limits are measured");
        let [low, _] = row.recall.ci.expect("there are twelve users");
        let lingers = row.off.p95_ci.map(|[_, high]| high).or(row.off.p95.map(|p95| p95 as f64)).unwrap();
        assert_eq!(row.meets, low >= 0.8 && lingers <= 5_000.0, "{}", row.setting);
        assert!((0.0..=1.0).contains(&chance) && (!row.meets || chance > 0.96), "{}: {chance}", row.setting);
        both[usize::from(row.meets)] += 1;
    }
    assert!(both.iter().all(|count| *count > 0), "{both:?}");
    assert!(why(&report).contains("you hold a second of icon for no one as bad as"), "{}", why(&report));
    assert!(why(&report).contains(" of 12 users are below 80 %"), "{}", why(&report));
    // What can't be kept says what it would take.
    let report = tuned(&lines, &small(&[("want", "recall>=99.9%,off_p95<=1s"), ("icon-ttl", "none")]));
    assert_eq!(report.decision.verdict, Verdict::Keep);
    assert!(why(&report).contains("it would take recall>="), "{}", why(&report));
    let report = tuned(&lines, &small(&[("peak", "9000"), ("share", "1%")]));
    assert!(why(&report).contains("it would take --share "), "{}", why(&report));
}

#[test]
fn a_recording_without_a_message_says_what_is_missing() {
    let mut rng = Rng::new(1);
    let mut lines = chats(&mut rng, "c", 12, 10);
    lines.retain(|line| line.kind != Kind::Sent);
    let report = tuned(&lines, &small(&[]));
    assert_eq!(report.decision.verdict, Verdict::NotEnoughData);
    assert!(why(&report).contains("no message was sent: does the connector report message_sent?"), "{}", why(&report));
}

#[test]
fn one_user_is_too_few_and_says_how_many_it_takes() {
    let report = tuned(&chats(&mut Rng::new(1), "c", 1, 150), &small(&[]));
    assert_eq!((report.decision.verdict, report.decision.gain), (Verdict::NotEnoughData, None));
    assert!(why(&report).contains("1 user is too few to advise on; record at least 10"), "{}", why(&report));
    assert!(report.rows.iter().all(|row| row.recall.ci.is_none()));
}

#[test]
fn a_stuck_key_is_left_out_and_its_user_named() {
    let mut rng = Rng::new(2);
    let clean = chats(&mut rng, "c", 14, 12);
    let mut lines = clean.clone();
    lines.extend((0..20_000).map(|i| Line {
        at: 5_000 + i * 33,
        to: "c".into(),
        from: "stuck".into(),
        kind: Kind::Key,
    }));
    lines.sort_by_key(|line| line.at);
    let plan = small(&[("peak", "10")]);
    let [clean, stuck] = [&clean, &lines].map(|lines| tuned(lines, &plan));
    assert_eq!((clean.decision.verdict, clean.decision.best), (stuck.decision.verdict, stuck.decision.best));
    assert_eq!(clean.study.users, stuck.study.users);
    assert!(why(&stuck).contains("left out for a stuck key: user #"), "{}", why(&stuck));
    assert!(!why(&stuck).contains("stuck-") && !why(&stuck).contains("user stuck"), "by his hash: {}", why(&stuck));
}

#[test]
fn paste_alone_is_no_typing() {
    let mut lines = File::new();
    for user in 0..12 {
        for message in 0..12 {
            let at = message * 60_000 + user * 100;
            let from = format!("u{user}");
            lines.push(Line { at, to: "c".into(), from: from.clone(), kind: Kind::Key });
            lines.push(Line { at: at + 1_500, to: "c".into(), from, kind: Kind::Sent });
        }
    }
    lines.sort_by_key(|line| line.at);
    let report = tuned(&lines, &small(&[]));
    assert_eq!(report.decision.verdict, Verdict::NotEnoughData);
    assert!(why(&report).contains("each message is a single event, as of a paste"), "{}", why(&report));
}

#[test]
fn a_night_changes_neither_advice_nor_capacity() {
    let mut rng = Rng::new(4);
    let day = chats(&mut rng, "c", 12, 12);
    let mut two = day.clone();
    // The same people go on in the same chats the next morning.
    two.extend(day.iter().map(|line| Line { at: line.at + 12 * 3_600_000, ..line.clone() }));
    let plan = small(&[]);
    let [day, two] = [&day, &two].map(|lines| tuned(lines, &plan));
    assert_eq!((day.decision.verdict, day.decision.best), (two.decision.verdict, two.decision.best));
    assert_eq!(day.decision.peak, two.decision.peak);
    let room = |report: &Report| report.current.safe_conversations.expect("they chat") as f64;
    assert!((room(&two) / room(&day) - 1.0).abs() < 0.2 && room(&two) <= 11_000.0, "{} {}", room(&day), room(&two));
}

#[test]
fn two_channels_are_told_apart() {
    let mut rng = Rng::new(6);
    let mut lines = chats(&mut rng, "web", 12, 12);
    // On the other one people type without any pause that matters.
    let fast = chats(&mut rng, "app", 3, 4);
    lines.extend(fast);
    lines.sort_by_key(|line| line.at);
    let report = tuned(&lines, &small(&[]));
    let verdicts: Vec<_> = report.channels.iter().map(|channel| (&*channel.name, channel.decision.verdict)).collect();
    assert_eq!(verdicts.len(), 2);
    assert_eq!((verdicts[0].0, verdicts[1]), ("web", ("app", Verdict::NotEnoughData)));
    assert!(why(&report).contains("channels are pooled above; by itself each: web "), "{}", why(&report));
    let json = typingd::tune::json::report(&report);
    assert_eq!(json["channels"]["app"]["verdict"], "not_enough_data");
    // Each by itself is as if it had been recorded alone.
    let web: File = lines.iter().filter(|line| line.to == "web").cloned().collect();
    let end = lines.last().unwrap().clone();
    let alone = tuned(
        &[web, vec![Line { to: "web".into(), from: "idler".into(), kind: Kind::Opened, ..end }]].concat(),
        &small(&[]),
    );
    assert_eq!(alone.decision.best, report.channels[0].decision.best);
    assert_eq!(alone.current.recall, report.channels[0].current.recall);
    assert!(tuned(&lines, &small(&[("by-channel", "false")])).channels.is_empty());
}

#[test]
fn a_channel_is_compared_with_its_own_timing() {
    let mut rng = Rng::new(6);
    let mut lines = chats(&mut rng, "web", 12, 12);
    lines.extend(chats(&mut rng, "app", 12, 12));
    lines.sort_by_key(|line| line.at);
    let own = setting(Mode::AfterShown, 5_000, 2_000).rules(Duration::from_secs(300));
    let app = ChannelAddress::new("app").unwrap();
    let asked = |choices: &[(&'static str, &'static str)]| {
        let plan = Plan::new(&Rules::default()).with_channels([(&app, &own)]);
        let choices = [("check", "5s"), ("dismiss", "2s,5s")].into_iter().chain(choices.iter().copied());
        tuned(&lines, &plan.with(choices).unwrap())
    };
    let current = |report: &Report| -> Vec<_> {
        let channels = report.channels.iter().map(|channel| (&*channel.name, channel.current.setting.to_string()));
        let mut channels: Vec<_> = channels.map(|(name, setting)| format!("{name} {setting}")).collect();
        channels.sort();
        channels
    };
    let report = asked(&[]);
    assert_eq!(current(&report), ["app after_shown 5s/2s", "web idle 5s/2s"]);
    assert_eq!(report.current.setting, setting(Mode::Idle, 5_000, 2_000));
    assert_eq!(asked(&[("to", "app")]).current.setting, setting(Mode::AfterShown, 5_000, 2_000));
    // Who names a setting means it everywhere.
    assert_eq!(current(&asked(&[("current", "idle:5s/3s")])), ["app idle 5s/3s", "web idle 5s/3s"]);
}

#[test]
fn a_widget_that_reports_by_the_clock_is_told_from_keys() {
    let mut lines = File::new();
    for user in 0..12 {
        for message in 0..12 {
            let from = format!("u{user}");
            let at = message * 60_000 + user * 100;
            for report in 0..4 {
                lines.push(Line { at: at + report * 5_000, to: "widget".into(), from: from.clone(), kind: Kind::Key });
            }
            lines.push(Line { at: at + 17_000, to: "widget".into(), from, kind: Kind::Sent });
        }
    }
    lines.sort_by_key(|line| line.at);
    let report = tuned(&lines, &small(&[("abandon", "none")]));
    assert_eq!(report.decision.verdict, Verdict::NotEnoughData);
    assert!(why(&report).contains("channel widget reports typing every 5s, not each key"), "{}", why(&report));
    assert!(why(&report).contains("`lasts`"), "{}", why(&report));
    // With `lasts` it says how long the typing goes on, and is as good as keys.
    for line in lines.iter_mut().filter(|line| line.kind == Kind::Key) {
        line.kind = Kind::Lasting(5_000);
    }
    let report = tuned(&lines, &small(&[("abandon", "none")]));
    assert_ne!(report.decision.verdict, Verdict::NotEnoughData, "{}", why(&report));
}

#[test]
fn whatever_is_recorded_the_verdict_is_sound() {
    let counted = AtomicU64::new(0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let files = made_up(&mut rng, Shape { files: 2, users: 12, lines: 300, scale: 100 });
        let mut plan = small(&[("current", ["5s/2s", "after_shown:5s/2s"][rng.below(2) as usize])]);
        plan.grid.retain(|own| own.check != 10_000 && own.dismiss % 2_000 != 0);
        plan.grid.push(setting(Mode::Idle, 7_000, 2_000));
        plan.grid.sort();
        sound(&tune(study(&files), &plan, 1, &|| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
    }
    assert!(counted.into_inner() > 60);
}
