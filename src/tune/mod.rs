//! `typingd tune`: what each check and dismiss interval costs and gives, on recorded typing.
//!
//! The daemon's own state machine plays every conversation, in virtual time: once for all settings that differ in one
//! interval alone, or else under every setting. There is no second implementation of the rules; what an interval adds is
//! held to what the state machine does. In reading order: [`timeline`] and [`study`] (the typing), [`suspects`] (what is
//! none), [`truth`] (when the user was composing), [`mod@play`] (what is sent) and `family` (by many settings at once),
//! [`icon`] (what is seen), [`sums`], `seen` and `waits` (what is counted), [`confidence`] (how sure that is), `meter` and
//! [`row`] (one setting, measured), [`silence`] (what a pause means), [`advice`] (which setting is the best), [`decision`]
//! and `reasons` (whether to change to it), [`strip`] (what else to show), [`diff`] (before and after); [`plan`] is what is
//! asked, and [`json`], [`table`] and [`html`] are how it is reported.

pub(crate) mod advice;
pub(crate) mod confidence;
pub mod decision;
pub mod diff;
mod family;
pub(crate) mod html;
pub(crate) mod icon;
pub mod json;
pub(crate) mod measure;
mod meter;
pub(crate) mod outlook;
pub mod plan;
pub mod play;
mod reasons;
pub mod row;
mod seen;
pub(crate) mod silence;
pub mod simulate;
pub(crate) mod strip;
pub mod study;
pub(crate) mod sums;
pub mod suspects;
pub mod table;
pub mod timeline;
pub mod truth;
pub mod typist;
pub(crate) mod value;
mod waits;

use std::sync::atomic::{AtomicUsize, Ordering};

use decision::{Decision, Evidence, Verdict};
use meter::Meter;
use plan::{Plan, Setting};
use row::Row;
use silence::Silences;
use study::{Input, Study};
use sums::{Typed, ratio};
use suspects::Suspects;
use timeline::Timeline;

/// The weights of a falsely shown second for which the break-even silence is reported.
pub const LAMBDAS: [u32; 4] = [1, 2, 4, 9];

/// Everything that `tune` found.
#[derive(Debug)]
pub struct Report {
    /// What was asked.
    pub plan: Plan,
    /// What was read.
    pub inputs: Vec<Input>,
    /// The typing itself, for pictures.
    pub study: Study,
    /// The study in numbers.
    pub typed: Typed,
    /// The setting in force.
    pub current: Row,
    /// The grid, in its order.
    pub rows: Vec<Row>,
    /// The rows that keep every limit and the share of requests, the best first, by their place in `rows`.
    pub ranking: Vec<usize>,
    /// Whether to change to the first of them.
    pub decision: Decision,
    /// Where none does: the row that misses by the least, and the limits that it misses, by their places.
    pub nearest: Option<(usize, Vec<usize>)>,
    /// What perfect foresight would send: a start and a stop for each message.
    pub ceiling_req_per_min: Option<f64>,
    /// The share of a chat's life in which the user composes.
    pub duty: Option<f64>,
    /// How likely typing goes on after a silence.
    pub silences: Silences,
    /// What an operator should be warned of.
    pub warnings: Vec<String>,
    /// What was not taken for typing.
    pub suspects: Suspects,
    /// The channels one by one, the one with the most conversations first, where there are several.
    pub channels: Vec<Channel>,
    /// How many users were measured, where that are not all.
    pub sampled: Option<usize>,
}

/// What was found of one channel.
#[derive(Debug)]
pub struct Channel {
    /// Its address, or the hash of it that the trace has.
    pub name: Box<str>,
    /// How many users typed there.
    pub users: usize,
    /// How many messages they began.
    pub messages: u64,
    /// The setting in force.
    pub current: Row,
    /// The best of all.
    pub best: Option<Row>,
    /// Whether to change to it there.
    pub decision: Decision,
}

impl Report {
    /// The best of the settings, if any keeps the limits.
    pub fn best(&self) -> Option<&Row> {
        self.decision.best.and_then(|best| self.row(best))
    }

    /// Whether the traces tell settings apart: whether what is to be small is known of those that keep the limits. It is
    /// not where no one composed.
    pub fn decides(&self) -> bool {
        let first = self.best().or(self.ranking.first().map(|row| &self.rows[*row]));
        first.is_some_and(|best| best.get(self.plan.minimise).is_some())
    }

    /// Whether what is in force is to stay.
    pub fn keeps(&self) -> bool {
        self.decision.verdict != Verdict::Change
    }

    /// The row of `setting`, if it was measured.
    pub fn row(&self, setting: Setting) -> Option<&Row> {
        std::iter::once(&self.current).chain(&self.rows).find(|row| row.setting == setting)
    }
}

/// Measures every setting of `plan` on `study`, on as many threads as the machine has cores but `threads_max` at most.
/// `done` is called each time that a setting has been measured.
///
/// The result depends on `study` and `plan` alone, whatever the number of threads.
pub fn tune(mut study: Study, plan: &Plan, threads_max: usize, done: &(dyn Fn() + Sync)) -> Report {
    let suspects = Suspects::find(&mut study);
    study.find_composing(plan.truth, plan.abandon, plan.seed);
    let threads = std::thread::available_parallelism().map_or(1, Into::into).min(threads_max).max(1);
    let channels = if plan.by_channel { channels(&study, plan, &suspects, threads) } else { Vec::new() };
    let Findings { typed, sampled, current, rows, mut ranking, nearest, silences, mut decision } =
        Findings::of(&study, plan, &suspects, threads, done);
    if let Some(place) = ranking.iter().position(|row| Some(rows[*row].setting) == decision.best) {
        ranking[..=place].rotate_right(1);
    }
    decision.why.extend(reasons::on_channels(&channels));
    let best = decision.best.and_then(|best| rows.iter().find(|row| row.setting == best));
    let mut warnings = advice::warnings(&current, best, plan, study.users);
    warnings.extend(
        sampled
            .map(|sampled| format!("the figures are those of {sampled} of {} users, drawn by the seed", study.users)),
    );
    Report {
        inputs: study.inputs.clone(),
        ceiling_req_per_min: ratio(2.0 * typed.counted, row::minutes(typed.composing)),
        duty: ratio(typed.composing, typed.life),
        silences,
        plan: plan.clone(),
        study,
        typed,
        current,
        rows,
        ranking,
        decision,
        nearest,
        warnings,
        suspects,
        channels,
        sampled,
    }
}

/// What was found of one study.
struct Findings {
    typed: Typed,
    sampled: Option<usize>,
    current: Row,
    rows: Vec<Row>,
    ranking: Vec<usize>,
    nearest: Option<(usize, Vec<usize>)>,
    silences: Silences,
    decision: Decision,
}

impl Findings {
    fn of(study: &Study, plan: &Plan, suspects: &Suspects, threads: usize, done: &(dyn Fn() + Sync)) -> Self {
        let mut typed = vec![Typed::default(); study.users];
        for timeline in &study.timelines {
            typed[timeline.user as usize].add(timeline);
        }
        let all = Typed::total(&typed);
        let peak = plan.peak.unwrap_or_else(|| study.busiest());
        let sample = sample(study, plan.seed);
        if let Some(sample) = &sample {
            typed = vec![Typed::default(); sample.users];
            for timeline in &sample.timelines {
                typed[timeline.user as usize].add(timeline);
            }
        }
        let study = sample.as_ref().unwrap_or(study);
        let mut rows = measured(study, plan, &typed, threads, done);
        let place = rows.iter().position(|row| row.setting == plan.current).expect("it was among the settings");
        advice::mark(&mut rows, plan);
        let current = if plan.grid.contains(&plan.current) { rows[place].clone() } else { rows.remove(place) };
        let ranking = advice::ranking(&rows, plan, peak);
        let nearest = if ranking.is_empty() { advice::nearest(&rows, plan) } else { None };
        let silences = Silences::of(study, plan.truth.away);
        let evidence = Evidence {
            study,
            plan,
            users: &typed,
            current: &current,
            rows: &rows,
            ranking: &ranking,
            nearest: nearest.as_ref(),
            silences: &silences,
            linger_max: silences.linger_max(plan.false_cost),
            suspects,
            peak,
        };
        let decision = evidence.decide();
        let sampled = sample.map(|sample| sample.users);
        Self { typed: all, sampled, current, rows, ranking, nearest, silences, decision }
    }
}

/// The grid's settings and the one in force, measured, in order.
fn measured(study: &Study, plan: &Plan, typed: &[Typed], threads: usize, done: &(dyn Fn() + Sync)) -> Vec<Row> {
    let in_grid = plan.grid.contains(&plan.current);
    let settings: Vec<Setting> = plan.grid.iter().copied().chain((!in_grid).then_some(plan.current)).collect();
    // What is counted is held for all of these at a time.
    let bytes = Meter::bytes(study, plan).max(1);
    let threads = threads.min(COUNTED_BYTES_MAX / (bytes + Meter::playing_bytes(study))).max(1);
    let together = (COUNTED_BYTES_MAX / threads / bytes).clamp(1, TOGETHER_MAX);
    let blocks = family::families(&settings, together);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut meter = Meter::new(study, plan, typed);
        let mut measured = Vec::new();
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            measured.extend(meter.measure_all(block));
            block.iter().for_each(|_| done());
        }
        measured
    };
    let mut rows: Vec<Row> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut rows = work();
        for other in others {
            rows.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        rows
    });
    rows.sort_by_key(|row| row.setting);
    rows
}

/// Some of the users, if there are more than it takes to know every figure to a tenth of a point.
fn sample(study: &Study, seed: u64) -> Option<Study> {
    if study.users <= USERS_MEASURED_MAX {
        return None;
    }
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut users: Vec<usize> = (0..study.users).collect();
    dice.shuffle(&mut users);
    let mut drawn = vec![false; study.users];
    users.iter().take(USERS_MEASURED_MAX).for_each(|user| drawn[*user] = true);
    Some(study.part(|timeline| drawn[timeline.user as usize]))
}

/// The largest of several channels, each by itself.
fn channels(study: &Study, plan: &Plan, suspects: &Suspects, threads: usize) -> Vec<Channel> {
    let mut sizes: Vec<(usize, u32)> = (0..study.channels.len() as u32).map(|channel| (0, channel)).collect();
    for timeline in &study.timelines {
        sizes[timeline.channel as usize].0 += 1;
    }
    sizes.retain(|(size, _)| *size > 0);
    if sizes.len() < 2 {
        return Vec::new();
    }
    sizes.sort_unstable_by_key(|(size, channel)| (std::cmp::Reverse(*size), *channel));
    let of = |(_, channel): &(usize, u32)| {
        let part = study.part(|timeline: &Timeline| timeline.channel == *channel);
        let name = study.channels[*channel as usize].clone();
        let (plan, suspects) = (plan.in_channel(&name), suspects.of_channel(&name));
        let Findings { typed, current, rows, decision, .. } = Findings::of(&part, &plan, &suspects, threads, &|| {});
        let best = rows.into_iter().find(|row| Some(row.setting) == decision.best);
        Channel { name, users: part.users, messages: typed.messages as u64, current, best, decision }
    };
    sizes.iter().take(CHANNELS_MAX).map(of).collect()
}

/// The most users that are measured under every setting; of more, so many are drawn.
pub(crate) const USERS_MEASURED_MAX: usize = 20_000;
/// Settings of one family that are measured together, at most: as many as are tried by default.
const TOGETHER_MAX: usize = 16;
/// What is counted at a time may take, in bytes.
const COUNTED_BYTES_MAX: usize = 64_000_000;
/// The most channels that are studied one by one.
pub const CHANNELS_MAX: usize = 20;
