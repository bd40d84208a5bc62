//! `typingd tune`: what each check and dismiss interval costs and gives, on recorded typing.
//!
//! The daemon's own state machine plays every conversation under every setting, in virtual time; there is no second
//! implementation of the rules. In reading order: [`timeline`] and [`study`] (the typing), [`truth`] (when the user was composing), [`mod@play`]
//! (what is sent), [`icon`] (what is seen), [`sums`] (what is counted), [`bootstrap`] (how sure that is), [`row`] (one
//! setting, measured), [`advice`] (which one is the best), [`paired`] and [`decision`] (whether to change to it), [`silence`] and [`strip`] (what else to show); [`plan`] is what is
//! asked, and [`json`], [`table`] and [`html`] are how it is reported.

pub(crate) mod advice;
pub(crate) mod bootstrap;
pub mod decision;
pub(crate) mod html;
pub(crate) mod icon;
pub mod json;
pub(crate) mod measure;
pub(crate) mod outlook;
mod paired;
pub mod plan;
pub mod play;
pub mod row;
pub(crate) mod silence;
pub mod simulate;
pub(crate) mod strip;
pub mod study;
pub(crate) mod sums;
pub mod table;
pub mod timeline;
pub mod truth;
pub mod typist;
pub(crate) mod value;

use std::sync::atomic::{AtomicUsize, Ordering};

use bootstrap::Bootstrap;
use decision::{Decision, Evidence, Verdict};
use plan::{Plan, Setting};
use row::{Meter, Row};
use silence::Silences;
use study::{Input, Study};
use sums::{Typed, ratio};

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
}

impl Report {
    /// The best of the settings, if any keeps the limits.
    pub fn best(&self) -> Option<&Row> {
        self.ranking.first().map(|row| &self.rows[*row])
    }

    /// Whether the traces tell settings apart: whether what is to be small is known of the best. It is not where no one
    /// composed.
    pub fn decides(&self) -> bool {
        self.best().is_some_and(|best| best.get(self.plan.minimise).is_some())
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
    study.find_composing(plan.truth, plan.abandon, plan.seed);
    let mut typed = vec![Typed::default(); study.users];
    for timeline in &study.timelines {
        typed[timeline.user as usize].add(timeline);
    }
    let bootstrap = Bootstrap::new(&typed, plan.seed);
    let in_grid = plan.grid.contains(&plan.current);
    let settings: Vec<Setting> = plan.grid.iter().copied().chain((!in_grid).then_some(plan.current)).collect();
    let threads = std::thread::available_parallelism().map_or(1, Into::into).min(threads_max).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut meter = Meter::new(&study, plan, &typed, bootstrap.as_ref());
        let mut measured = Vec::new();
        while let Some(setting) = settings.get(next.fetch_add(1, Ordering::Relaxed)) {
            measured.push(meter.measure(*setting));
            done();
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
    let place = rows.iter().position(|row| row.setting == plan.current).expect("it was among the settings");
    advice::mark(&mut rows, plan);
    let current = if in_grid { rows[place].clone() } else { rows.remove(place) };
    let peak = plan.peak.unwrap_or_else(|| study.busiest());
    let ranking = advice::ranking(&rows, plan, peak);
    let nearest = if ranking.is_empty() { advice::nearest(&rows, plan) } else { None };
    let warnings = advice::warnings(&current, ranking.first().map(|row| &rows[*row]), plan, study.users);
    let evidence =
        Evidence { study: &study, plan, users: &typed, current: &current, rows: &rows, ranking: &ranking, peak };
    let decision = evidence.decide();
    let typed = Typed::weighted(&typed, &vec![1.0; typed.len()]);
    Report {
        inputs: study.inputs.clone(),
        ceiling_req_per_min: ratio(2.0 * typed.counted, row::minutes(typed.composing)),
        duty: ratio(typed.composing, typed.life),
        silences: Silences::of(&study, plan.truth.away),
        plan: plan.clone(),
        study,
        typed,
        current,
        rows,
        ranking,
        decision,
        nearest,
        warnings,
    }
}
