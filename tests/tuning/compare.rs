//! What `tune` reports, held against the brute force.

use typingd::engine::policy::{Mode, Rules};
use typingd::tune::plan::{IconTtl, Plan, Setting, TTL_ASSUMED_MILLIS};
use typingd::tune::row::{Quantiles, Row};
use typingd::tune::study::Study;
use typingd::tune::truth::{self, Kind};
use typingd::tune::{LAMBDAS, Report, tune};

use crate::brute::{self, Conversation, Counts, Lens, Truth, percentile, share};
use crate::traces::{File, reader};

/// A plan of `grid`, the first of which is in force.
pub(crate) fn plan(grid: &[Setting], lens: Lens) -> Plan {
    let kind = match lens.truth {
        Truth::Message => Kind::Message,
        Truth::Burst => Kind::Burst,
        Truth::SentOnly => Kind::SentOnly,
    };
    let mut plan = Plan::new(&Rules::default());
    plan.current = grid[0];
    plan.grid = grid.to_vec();
    plan.grid.sort();
    plan.grid.dedup();
    plan.truth = truth::Truth { kind, away: lens.away };
    plan.icon_ttl = lens.ttl.map_or(IconTtl::Never, IconTtl::After);
    plan
}

pub(crate) fn setting(mode: Mode, check: u64, dismiss: u64) -> Setting {
    Setting { mode, check, dismiss }
}

/// The study of `files`.
pub(crate) fn study(files: &[File]) -> Study {
    Study::read(files.iter().map(|lines| reader("t.ndjson", lines))).expect("the trace is right")
}

/// What the brute force makes of `files` under `setting`: of all, and of each user.
pub(crate) fn counted(files: &[File], plan: &Plan, setting: Setting, lens: Lens) -> (Counts, Vec<Counts>) {
    let (conversations, users) = brute::conversations(files);
    let told: Vec<_> = files.iter().map(|lines| brute::told(lines, &setting.rules(plan.max_typing))).collect();
    let mut all = Counts::default();
    let mut each = vec![Counts::default(); users];
    for conversation in &conversations {
        let Conversation { to, from, .. } = conversation;
        let told = told[conversation.file].get(&(to.clone(), from.clone())).map_or(&[][..], Vec::as_slice);
        all.add(conversation, told, lens);
        each[conversation.user].add(conversation, told, lens);
    }
    (all, each)
}

/// Differences between a report and the brute force, as they are found.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, reported: T, brute: T) {
        if reported != brute {
            self.0.push(format!("{what}: tune says {reported:?}, by definition it is {brute:?}"));
        }
    }

    /// The same but for what rounding does to it.
    fn near(&mut self, what: &str, reported: Option<f64>, brute: Option<f64>, slack: f64) {
        let near = match (reported, brute) {
            (Some(reported), Some(brute)) => (reported - brute).abs() <= slack * brute.abs().max(1.0),
            (None, None) => true,
            _ => false,
        };
        if !near {
            self.0.push(format!("{what}: tune says {reported:?}, by definition it is {brute:?}"));
        }
    }

    fn quantiles(&mut self, what: &str, reported: &Quantiles, brute: &[u64]) {
        let told = (reported.n, reported.p50, reported.p95, reported.max);
        self.same(what, told, (brute.len(), percentile(brute, 50), percentile(brute, 95), brute.iter().max().copied()));
    }
}

const EXACT: f64 = 1e-9;

/// Tunes on `files` with `plan`, which `lens` has gone into, and holds all that is reported against the brute force.
///
/// # Errors
/// Every difference, one a line.
pub(crate) fn compare(files: &[File], plan: &Plan, lens: Lens) -> Result<Report, String> {
    let report = tune(study(files), plan, 1, &|| {});
    let (conversations, users) = brute::conversations(files);
    let mut found = Findings::default();
    found.same("users", report.study.users, users);
    found.same("conversations", report.study.timelines.len(), conversations.len());
    for (place, setting) in plan.grid.iter().enumerate() {
        let row = &report.rows[place];
        found.same("setting", row.setting, *setting);
        if *setting == plan.current {
            found.same("current", &report.current, row);
        }
        let (all, each) = counted(files, plan, *setting, lens);
        let before = found.0.len();
        of_row(row, &all, &each, plan, &mut found);
        if plan.icon_ttl == IconTtl::Unknown {
            let lens = Lens { ttl: Some(TTL_ASSUMED_MILLIS), ..lens };
            of_dropped(row, &counted(files, plan, *setting, lens).0, &mut found);
        }
        if place == 0 {
            of_typing(&report, &all, &mut found);
        }
        found.0[before..].iter_mut().for_each(|what| *what = format!("{setting}: {what}"));
    }
    of_silence(&report, &conversations, lens.away, &mut found);
    if found.0.is_empty() { Ok(report) } else { Err(found.0.join("\n")) }
}

fn minutes(millis: u64) -> f64 {
    millis as f64 / 60_000.0
}

fn each_minute(count: u64, composing: u64) -> Option<f64> {
    (composing > 0).then(|| count as f64 / minutes(composing))
}

fn of_row(row: &Row, all: &Counts, each: &[Counts], plan: &Plan, found: &mut Findings) {
    let requests = all.started + all.stopped;
    found.same("started", row.started, all.started);
    found.same("stopped", row.stopped, all.stopped);
    found.near("recall", row.recall.value, share(all.both, all.composing), EXACT);
    found.near("false-on", row.false_on.value, share(all.on - all.both, all.on), EXACT);
    let seconds = share(all.false_abandoned, all.abandoned).map(|millis| millis / 1_000.0);
    found.near("false-on seconds of a draft", row.false_on_per_abandoned.value, seconds, EXACT);
    found.near("requests a minute", row.req_per_min.value, each_minute(requests, all.composing), EXACT);
    found.near("Started a minute", row.started_per_min, each_minute(all.started, all.composing), EXACT);
    found.near("requests a message", row.req_per_msg.value, share(requests, all.messages), EXACT);
    found.near("flicker a message", row.flicker_per_msg.value, share(all.flickers, all.messages), EXACT);
    found.near("flicker a minute", row.flicker_per_min.value, each_minute(all.flickers, all.composing), EXACT);
    found.near("off-early", row.off_early.value, share(all.early, all.sent), EXACT);
    found.near("wrong stops", row.wrong_stop.value, share(all.wrong_stops, all.timer_stops), EXACT);
    found.quantiles("off-latency", &row.off, &all.off);
    found.quantiles("on-latency", &row.on, &all.on_after);
    // Whoever begins to look within the cell t waits from its end, or up to a millisecond longer: half of one on average.
    let waited: u64 = all.waits.iter().sum();
    let mean = share(waited, all.waits.len() as u64).map(|mean| mean - 0.5);
    found.near("mean late wait", row.late_wait.value, mean, EXACT);
    let p99 = percentile(&all.waits, 99);
    let told = row.late_wait_p99;
    let near = told.zip(p99).map_or(told == p99, |(told, p99)| told == p99 || told + 1 == p99);
    if !near {
        found.same("late wait p99", told, p99);
    }
    let recalls: Vec<f64> = each.iter().filter_map(|user| share(user.both, user.composing)).collect();
    for (what, told, per_cent) in [("p10", row.users.p10, 10), ("p50", row.users.p50, 50), ("p90", row.users.p90, 90)] {
        found.near(&format!("users' recall {what}"), told, percentile(&recalls, per_cent), EXACT);
    }
    // Messages are sent as well, and no org has more sessions.
    let room = each_minute(requests + all.sent, all.composing)
        .filter(|requests| *requests > 0.0)
        .map(|requests| ((plan.limit - 3.09 * plan.limit.sqrt()).max(0.0) * 60.0 / requests).min(11_000.0));
    found.same("room for composers", row.safe_composers, room.map(|room| room.floor() as u64));
    let duty = share(all.composing, all.life);
    let talks = room.zip(duty).map(|(room, duty)| (room.floor() / duty).floor().min(11_000.0) as u64);
    found.same("room for conversations", row.safe_conversations, talks);
}

fn of_dropped(row: &Row, all: &Counts, found: &mut Findings) {
    let Some(dropped) = &row.dropped else { return found.same("dropped", false, true) };
    found.near("recall if dropped", dropped.recall.value, share(all.both, all.composing), EXACT);
    found.near("false-on if dropped", dropped.false_on.value, share(all.on - all.both, all.on), EXACT);
    found.near("flicker if dropped", dropped.flicker_per_msg.value, share(all.flickers, all.messages), EXACT);
    found.near("off-early if dropped", dropped.off_early.value, share(all.early, all.sent), EXACT);
    found.quantiles("off-latency if dropped", &dropped.off, &all.off);
}

fn of_typing(report: &Report, all: &Counts, found: &mut Findings) {
    let typed = &report.typed;
    found.same("composing", typed.composing as u64, all.composing);
    found.same("messages begun", typed.messages as u64, all.begun);
    found.same("messages that count", typed.counted as u64, all.messages);
    found.same("sent", typed.sent as u64, all.sent);
    found.same("abandoned", typed.abandoned as u64, all.abandoned);
    found.near("duty", report.duty, share(all.composing, all.life), EXACT);
    let ceiling = each_minute(2 * all.messages, all.composing);
    found.near("requests at the ceiling", report.ceiling_req_per_min, ceiling, EXACT);
}

fn of_silence(report: &Report, conversations: &[Conversation], away: u64, found: &mut Findings) {
    let step = (away / 40).max(1);
    for millis in (0..=away + 1).step_by(step as usize) {
        let p = brute::resumes(conversations, away, millis);
        found.near(&format!("going on after {millis} ms"), report.silences.resume(millis), p, EXACT);
    }
    // Every millisecond is tried, so that this is done for short times only.
    if away > 100 {
        return;
    }
    for lambda in LAMBDAS.map(f64::from) {
        let gives_up =
            |millis: &u64| brute::resumes(conversations, away, *millis).is_some_and(|p| p < lambda / (1.0 + lambda));
        let first = (0..=away + 1).find(gives_up);
        found.same(&format!("break-even at {lambda}"), report.silences.break_even(lambda), first);
    }
}
