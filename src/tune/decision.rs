//! Whether to change the timing, and to what: the verdict, its reasons, and what would overturn it.
//!
//! [`advice`] says which setting is the best; this says whether that is known well enough to act on.

use super::advice::least;
use super::bootstrap::Interval;
use super::measure::Measure;
use super::paired::{Paired, paired};
use super::plan::{IconTtl, Plan, Setting, TTL_ASSUMED_MILLIS};
use super::row::{Meter, Row, UserShare};
use super::study::Study;
use super::sums::{Typed, ratio};

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
    /// What would be the best if the receiver were known to drop icons after a time, or never.
    pub conditions: Vec<(Option<u64>, Option<Setting>)>,
    /// What the best setting gains over the one in force, if both are defined and users are enough for an interval.
    pub gain: Option<Gain>,
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
    pub(super) ranking: &'a [usize],
    pub(super) peak: u64,
}

impl Evidence<'_> {
    /// The verdict on the first of the ranking.
    pub(super) fn decide(&self) -> Decision {
        let plan = self.plan;
        let by_case = |case: usize| {
            let best = least(self.rows, self.ranking, plan, |row| row.sights.get(case).and_then(|sight| sight.cost));
            best.map(|row| self.rows[row].setting)
        };
        let shown =
            plan.icon_ttl.cases().into_iter().enumerate().take(if plan.icon_ttl == IconTtl::Unknown { 2 } else { 1 });
        let conditions: Vec<_> = shown.map(|(case, ttl)| (ttl, by_case(case))).collect();
        let best = self.ranking.first().map(|row| &self.rows[*row]);
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
        why.splice(..0, lacks);
        why.extend(compared.as_ref().and_then(|compared| self.single_user(compared)));
        why.extend(self.on_receiver(&conditions));
        why.extend(best.map(|best| self.on_requests(best)));
        Decision {
            verdict,
            why,
            advice: best.filter(|_| verdict == Verdict::Change).map(|best| best.setting),
            conditions,
            gain: compared.and_then(|compared| compared.gain()),
            peak: self.peak,
        }
    }

    fn nothing_keeps(&self) -> String {
        if self.rows.iter().any(|row| row.meets) {
            let share = 100.0 * self.plan.share;
            return format!(
                "no setting tried keeps typing within {share:.0} % of {} requests a second with {} people typing at once",
                self.plan.limit, self.peak
            );
        }
        "no setting tried keeps the limits".to_owned()
    }

    /// What is missing before anything can be said.
    fn lacks(&self) -> Vec<String> {
        let typed = Typed::weighted(self.users, &vec![1.0; self.users.len()]);
        let mut lacks = Vec::new();
        if typed.composing == 0.0 {
            lacks.push("no one composed: each message is a single event, as of a paste; record keystrokes".to_owned());
        }
        let counted =
            [("user", self.users.len() as u64, USERS_MIN as u64), ("message", typed.messages as u64, MESSAGES_MIN)];
        for (noun, count, least) in counted.into_iter().filter(|(_, count, least)| count < least) {
            let (noun, verb) = if count == 1 { (noun.to_owned(), "is") } else { (format!("{noun}s"), "are") };
            lacks.push(format!("{count} {noun} {verb} too few to advise on; record at least {least}"));
        }
        if self.plan.abandon.is_none() && typed.abandoned == 0.0 {
            lacks.push(
                "no draft was abandoned, so that nothing shows how long an icon would linger: say --abandon 13% to suppose \
                 some, or --abandon none if there are none"
                    .to_owned(),
            );
        }
        lacks
    }

    /// The best setting against the one in force, user by user, each with the receiver that is the worst for it.
    fn compare(&self, best: &Row) -> Option<Compared> {
        let mut meter = Meter::new(self.study, self.plan, self.users, None);
        let mut shares = |row: &Row, ttl: Option<u64>| meter.by_user(row.setting, ttl);
        let (now_ttl, best_ttl) = (self.current.worst()?.icon_ttl, best.worst()?.icon_ttl);
        let first = self.plan.icon_ttl.first();
        let seen = [shares(self.current, first), shares(best, first)];
        let worst = [shares(self.current, now_ttl), shares(best, best_ttl)];
        let false_cost = self.plan.false_cost;
        let cost = |user: &UserShare| user.seen.cost(user.composing, false_cost) * SECONDS_PER_MINUTE;
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
        let Paired { value, interval: [low, high] } = gain;
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
        let words = "missed, and false by its weight, in each minute of typing";
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
    fn users_for(&self, on: &Paired) -> u64 {
        let half = (on.interval[1] - on.interval[0]) / 2.0;
        let users = self.users.len() as f64 * (half / HALF_WIDTH_WANTED).powi(2);
        (users.ceil() as u64).max(self.users.len() as u64 + 1)
    }

    /// A user without whom the gain would be another by more than its interval.
    fn single_user(&self, compared: &Compared) -> Option<String> {
        let all = paired(&compared.costs)?;
        let without = |user: usize| {
            let mut others = compared.costs.clone();
            others.swap_remove(user);
            paired(&others)
        };
        let user = (0..compared.costs.len()).max_by(|a, b| {
            let pull = |user: &usize| (compared.costs[*user].0 - all.value * compared.costs[*user].1).abs();
            pull(a).total_cmp(&pull(b))
        })?;
        let rest = without(user)?;
        let half = (rest.interval[1] - rest.interval[0]) / 2.0;
        if (rest.value - all.value).abs() <= half {
            return None;
        }
        let composing: f64 = compared.costs.iter().map(|(_, composing)| composing).sum();
        let share = ratio(100.0 * compared.costs[user].1, composing)?;
        let timeline = self.study.timelines.iter().find(|timeline| timeline.user as usize == user)?;
        Some(format!(
            "one user decides: #{} has {share:.0} % of the typing; without this user {:.1} s are saved rather than {:.1} s",
            pseudonym(&timeline.from),
            rest.value,
            all.value
        ))
    }

    /// What hangs on a receiver that is not known.
    fn on_receiver(&self, conditions: &[(Option<u64>, Option<Setting>)]) -> Option<String> {
        let [(_, Some(kept)), (_, Some(dropped))] = conditions else { return None };
        let after = Setting::time(TTL_ASSUMED_MILLIS);
        let told = if kept == dropped {
            format!(
                "whether the agent console drops icons by itself is not known; {kept} is the best if it keeps them or drops them after {after}"
            )
        } else {
            format!(
                "if the agent console keeps icons, {kept} is the best, if it drops them after {after}, {dropped}: find out first (typingd probe --hold 30s), and say --icon-ttl"
            )
        };
        Some(told)
    }

    /// What requests mean for the choice.
    fn on_requests(&self, best: &Row) -> String {
        let requests = best.req_per_min.value.unwrap_or_default();
        let typed = Typed::weighted(self.users, &vec![1.0; self.users.len()]);
        let messages = ratio(typed.sent, super::row::minutes(typed.composing)).unwrap_or_default();
        let each_second = |each_minute: f64| self.peak as f64 * each_minute / 60.0;
        let (typing, posts) = (each_second(requests), each_second(messages));
        let allowed = self.plan.limit * self.plan.share;
        let scarce =
            if typing > allowed * SCARCE { "requests are scarce" } else { "requests are no reason to choose anything" };
        format!(
            "with {} typing at once {} takes {typing:.1} of {} requests a second, messages {posts:.1} more: {scarce}",
            self.peak, best.setting, self.plan.limit
        )
    }
}

/// The differences of each user, now less best, each with the user's composing time.
struct Compared {
    costs: Vec<(f64, f64)>,
    on: Vec<(f64, f64)>,
    requests: Vec<(f64, f64)>,
}

impl Compared {
    fn gain(&self) -> Option<Gain> {
        let of = |differences: &[(f64, f64)]| paired(differences).map(|paired| paired.interval);
        Some(Gain { cost: of(&self.costs)?, on_while_typing: of(&self.on)?, requests: of(&self.requests)? })
    }
}

/// A user's name in a sentence: four digits of the hash of an id.
fn pseudonym(id: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    hash.as_ref()[..2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fewer say too little of others to advise on.
const USERS_MIN: usize = 10;
const MESSAGES_MIN: u64 = 100;
/// The gain for which a change is worth its trouble, as a share of what is lost now.
const GAIN_MIN: f64 = 0.05;
/// The precision for which users are counted: two points on either side.
const HALF_WIDTH_WANTED: f64 = 0.02;
/// From this share of what typing may take, requests are a reason.
const SCARCE: f64 = 0.5;
const SECONDS_PER_MINUTE: f64 = 60.0;
const MILLIS_PER_MINUTE: f64 = 60_000.0;
