//! Whether to change the timing, and to what: the verdict, its reasons, and what would overturn it.
//!
//! [`advice`] says which setting is the best; this says whether that is known well enough to act on, and `reasons` why.

use super::advice::Question;
use super::confidence::{Interval, Ratio};
use super::measure::Measure;
use super::meter::Meter;
use super::plan::{IconTtl, Plan, Setting};
use super::row::Row;
use super::seen::UserShare;
use super::silence::Silences;
use super::study::Study;
use super::sums::Typed;
use super::suspects::Suspects;
use super::truth::Truth;

#[cfg(doc)]
use super::advice;

/// What an operator should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: no setting is known to be better by as much as matters.
    Keep,
    /// Put the advice in force.
    Change,
    /// Record more first.
    NotEnoughData,
}

impl Verdict {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Change => "change",
            Self::NotEnoughData => "not_enough_data",
        }
    }
}

/// The verdict with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// Why, and what would overturn it: one sentence each.
    pub why: Vec<String>,
    /// The setting to change to; none unless the verdict is to change.
    pub advice: Option<Setting>,
    /// The best of the settings as far as is known, whatever the verdict.
    pub best: Option<Setting>,
    /// What would be the best if the receiver were known to drop icons after a time, or never.
    pub conditions: Vec<(Option<u64>, Option<Setting>)>,
    /// What would be the best if users counted as away after another silence, in milliseconds.
    pub away: Vec<(u64, Option<Setting>)>,
    /// What the best setting gains over the one in force, if both are defined and users are enough for an interval.
    pub gain: Option<Gain>,
    /// The longest that an icon may stay on after the last key, as far as these traces show, in milliseconds.
    pub linger_max: Option<u64>,
    /// How many people type at once at the busiest.
    pub peak: u64,
}

/// What the best setting gains over the one in force: 95 % intervals of the differences, paired by user. More is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Seconds missed and falsely shown by their weight, for each minute of composing.
    pub cost: Interval,
    /// The share of composing time with the icon on.
    pub on_while_typing: Interval,
    /// Requests saved for each minute of composing.
    pub requests: Interval,
}

/// What a decision is made from.
pub(super) struct Evidence<'a> {
    pub(super) study: &'a Study,
    pub(super) plan: &'a Plan,
    pub(super) users: &'a [Typed],
    pub(super) current: &'a Row,
    pub(super) rows: &'a [Row],
    /// The rows that keep every limit and the share of requests, the best first.
    pub(super) ranking: &'a [usize],
    pub(super) nearest: Option<&'a (usize, Vec<usize>)>,
    pub(super) silences: &'a Silences,
    /// The longest that an icon may stay on after the last key, as far as they show, in milliseconds.
    pub(super) linger_max: Option<u64>,
    pub(super) suspects: &'a Suspects,
    pub(super) peak: u64,
}

impl Evidence<'_> {
    /// The verdict on the best of the ranking.
    pub(super) fn decide(&self) -> Decision {
        let plan = self.plan;
        let cases = plan.icon_ttl.cases();
        let shown = if plan.icon_ttl == IconTtl::Unknown { CASES_SHOWN } else { 1 };
        let by_case = |case: usize| {
            let cost = |row: &Row| row.sights.get(case).and_then(|sight| sight.cost);
            self.question().choose(self.ranking, cost, cost).map(|row| self.rows[row].setting)
        };
        let conditions: Vec<_> = (0..shown).map(|case| (cases[case], by_case(case))).collect();
        let best = self.best();
        let (compared, mut why) = match best {
            None => (None, vec![self.nothing_keeps()]),
            Some(best) if best.setting == self.current.setting => (None, Vec::new()),
            Some(best) => (self.compare(best), Vec::new()),
        };
        let lacks = self.lacks();
        let verdict = match (best, &compared) {
            (Some(best), _) if best.get(plan.minimise).is_none() => Verdict::NotEnoughData,
            _ if !lacks.is_empty() => Verdict::NotEnoughData,
            (None, _) => Verdict::Keep,
            (Some(best), _) if best.setting == self.current.setting => {
                why.push(format!("no setting tried is better than {}, which is in force", best.setting));
                Verdict::Keep
            }
            (Some(best), Some(compared)) => self.weigh(best, compared, &mut why),
            // With so few users there is no interval; `lacks` has said so.
            (Some(_), None) => Verdict::NotEnoughData,
        };
        let away = best.map_or_else(Vec::new, |best| self.other_aways(best));
        why.splice(..0, lacks);
        why.extend(self.left_out());
        why.extend(compared.as_ref().and_then(|compared| self.single_user(compared)));
        why.extend(self.on_receiver(&conditions));
        if let Some(best) = best {
            why.extend(self.on_dismissal(best));
            why.extend(self.on_away(best, &away));
            why.push(self.on_requests(best));
        }
        why.extend(self.on_limits());
        Decision {
            verdict,
            why,
            advice: best.filter(|_| verdict == Verdict::Change).map(|best| best.setting),
            best: best.map(|best| best.setting),
            conditions,
            away,
            gain: compared.and_then(|compared| compared.gain()),
            linger_max: self.linger_max,
            peak: self.peak,
        }
    }

    /// What is asked of the rows. A limit to how long an icon lingers is the operator's own answer to how long it may.
    fn question(&self) -> Question<'_> {
        let answered = self.plan.wants.iter().any(|want| want.measure.is_of_lingering());
        let linger_max = if answered { None } else { self.linger_max };
        Question { rows: self.rows, plan: self.plan, linger_max }
    }

    fn best(&self) -> Option<&Row> {
        if self.plan.minimise != Measure::Cost {
            return self.ranking.first().map(|row| &self.rows[*row]);
        }
        let known = |row: &Row| row.sights.first().and_then(|sight| sight.cost);
        let best = self.question().choose(self.ranking, known, |row| row.get(Measure::Cost));
        best.map(|row| &self.rows[row])
    }

    /// The best of the ranking with other silences for away: its mode and check, with the dismissal that is the best then.
    fn other_aways(&self, best: &Row) -> Vec<(u64, Option<Setting>)> {
        // Messages taken for abandoned ones have had an absence of `away` put in.
        if self.plan.minimise != Measure::Cost || self.plan.abandon.is_some_and(|share| share > 0.0) {
            return Vec::new();
        }
        let tried = self.ranking.iter().map(|row| self.rows[*row].setting);
        let alike = |own: &Setting| (own.mode, own.check) == (best.setting.mode, best.setting.check);
        let settings: Vec<Setting> = tried.filter(alike).collect();
        let others: Vec<u64> = AWAYS_MILLIS.into_iter().filter(|away| *away != self.plan.truth.away).collect();
        let truths: Vec<Truth> = others.iter().map(|away| Truth { away: *away, ..self.plan.truth }).collect();
        let costs = Meter::new(self.study, self.plan, self.users).costs(&settings, &truths);
        let of = |place: usize| {
            let linger_max = Silences::of(self.study, others[place]).linger_max(self.plan.false_cost);
            let question = Question { linger_max, ..self.question() };
            question.dismissal(costs[place].iter().filter_map(|(own, cost)| Some((*own, (*cost)?))))
        };
        let found = |away: u64| others.iter().position(|other| *other == away).map_or(Some(best.setting), of);
        AWAYS_MILLIS.iter().map(|away| (*away, found(*away))).collect()
    }

    /// The best setting against the one in force, user by user, each with the receiver that is the worst for it.
    fn compare(&self, best: &Row) -> Option<Compared> {
        let mut meter = Meter::new(self.study, self.plan, self.users);
        let first = self.plan.icon_ttl.first();
        let [now_seen, now_worst] = meter.by_user(self.current.setting, [first, self.current.worst()?.icon_ttl]);
        let [best_seen, best_worst] = meter.by_user(best.setting, [first, best.worst()?.icon_ttl]);
        let (seen, worst) = ([now_seen, best_seen], [now_worst, best_worst]);
        let false_cost = self.plan.false_cost;
        let cost = |user: &UserShare| user.cost(false_cost);
        let differences = |pair: &[Vec<UserShare>; 2], of: &dyn Fn(&UserShare) -> f64| -> Vec<(f64, f64)> {
            let [now, best] = pair;
            now.iter().zip(best).map(|(now, best)| (of(now) - of(best), now.composing)).collect()
        };
        Some(Compared {
            costs: differences(&worst, &cost),
            on: differences(&seen, &|user| -user.seen.on_composing),
            requests: differences(&seen, &|user| user.requests * MILLIS_PER_MINUTE),
        })
    }

    fn weigh(&self, best: &Row, compared: &Compared, why: &mut Vec<String>) -> Verdict {
        let (Some(gain), Some(now)) = (paired(&compared.costs), self.current.get(Measure::Cost)) else {
            why.push(format!("{} users are too few for an interval", self.users.len()));
            return Verdict::NotEnoughData;
        };
        let Ratio { value, interval: [low, high], .. } = gain;
        let (new, old) = (best.setting, self.current.setting);
        // Who asks for limits, or for another measure to be small, has weighed what else there is.
        if !self.current.meets {
            why.push(format!("{old} does not keep the limits, {new} does"));
            return Verdict::Change;
        }
        let asked = self.plan.minimise;
        if asked != Measure::Cost {
            let less = best.get(asked) < self.current.get(asked);
            why.push(format!("{new} has {} {} than {old}", if less { "less" } else { "no less" }, asked.words()));
            return if less { Verdict::Change } else { Verdict::Keep };
        }
        let words = match self.plan.icon_ttl {
            IconTtl::Unknown => {
                "missed, and false by its weight, in each minute of typing, with the worst agent console for each"
            }
            IconTtl::Never | IconTtl::After(_) => "missed, and false by its weight, in each minute of typing",
        };
        if low <= 0.0 && high >= 0.0 {
            why.push(format!(
                "{new} may be no better than {old}: it saves {value:.1} s ({low:.1} to {high:.1}) {words}"
            ));
            return Verdict::Keep;
        }
        if value < GAIN_MIN * now {
            why.push(format!("{new} saves too little over {old}: {value:.1} s of {now:.1} s {words}"));
            return Verdict::Keep;
        }
        if high - low > value {
            let more = paired(&compared.on).map_or(USERS_MIN as u64, |on| self.users_for(&on));
            why.push(format!(
                "what {new} saves is not known well enough: {value:.1} s ({low:.1} to {high:.1}) {words}; record {more} \
                 users for ±2 points of icon on while typing"
            ));
            return Verdict::NotEnoughData;
        }
        why.push(format!("{new} saves {value:.1} s ({low:.1} to {high:.1}, of {now:.1}) {words}"));
        Verdict::Change
    }

    /// How many users it takes for an interval of two points on either side.
    fn users_for(&self, on: &Ratio) -> u64 {
        let half = (on.interval[1] - on.interval[0]) / 2.0;
        let users = self.users.len() as f64 * (half / HALF_WIDTH_WANTED).powi(2);
        (users.ceil() as u64).max(self.users.len() as u64 + 1)
    }
}

/// The differences of each user, now less best, each with the user's composing time.
pub(super) struct Compared {
    pub(super) costs: Vec<(f64, f64)>,
    on: Vec<(f64, f64)>,
    requests: Vec<(f64, f64)>,
}

impl Compared {
    fn gain(&self) -> Option<Gain> {
        let of = |differences: &[(f64, f64)]| paired(differences).map(|paired| paired.interval);
        Some(Gain { cost: of(&self.costs)?, on_while_typing: of(&self.on)?, requests: of(&self.requests)? })
    }
}

/// How sure a difference is that was measured on the same users.
pub(super) fn paired(users: &[(f64, f64)]) -> Option<Ratio> {
    Ratio::of(users.iter().copied())
}

/// Fewer say too little of others to advise on.
pub const USERS_MIN: usize = 10;
/// Fewer messages do.
pub const MESSAGES_MIN: u64 = 100;
/// The gain for which a change is worth its trouble, as a share of what is lost now.
const GAIN_MIN: f64 = 0.05;
/// The precision for which users are counted: two points on either side.
const HALF_WIDTH_WANTED: f64 = 0.02;
const MILLIS_PER_MINUTE: f64 = 60_000.0;
/// Of the receivers that are possible, those whose best setting is shown.
const CASES_SHOWN: usize = 2;
/// The silences for away with which the advice is tried.
const AWAYS_MILLIS: [u64; 3] = [15_000, 30_000, 60_000];
