//! One setting, measured.

use std::time::Duration;

use super::confidence::{Interval, Ratio, Tally, chance};
use super::icon::Shown;
use super::measure::Measure;
use super::plan::{Plan, Setting, Side, Want};
use super::play::{Arrival, Play};
use super::study::Study;
use super::sums::{Delays, Lags, Sums, Typed, quantile, ratio};
use super::timeline::Timeline;
use super::truth::Truth;
use crate::engine::policy::Rules;
use crate::model::Indicator;

/// A measure with its confidence; `None` where it is undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The measure.
    pub value: Option<f64>,
    /// The 95 % interval over users; none of fewer than five.
    pub ci: Option<Interval>,
    /// What it rests on, where it is a ratio of sums.
    pub(super) ratio: Option<Ratio>,
}

impl Estimate {
    /// A value that is known for sure, or whose interval is not.
    fn sure(value: Option<f64>) -> Self {
        Self { value, ..Self::default() }
    }

    /// The chance that `want` is kept with other users; none where the value or its interval is unknown.
    pub(super) fn chance(&self, want: &Want) -> Option<f64> {
        let (value, [low, high]) = (self.value?, self.ci?);
        // Of a quantile the interval alone is known.
        let quantile = ((high - low) / 2.0 / NORMAL_975, usize::MAX);
        let (error, users) = self.ratio.map_or(quantile, |ratio| (ratio.error, ratio.users));
        let margin = if want.side == Side::AtLeast { value - want.bound } else { want.bound - value };
        Some(if error == 0.0 { f64::from(u8::from(want.miss(value) == 0.0)) } else { chance(margin, error, users) })
    }
}

impl Estimate {
    /// How many users it takes for `want` to be kept for sure, if its value keeps it and only its interval does not.
    pub(super) fn users_for(&self, want: &Want) -> Option<u64> {
        let (value, [low, high]) = (self.value?, self.ci?);
        let (margin, half) = match want.side {
            Side::AtLeast => (value - want.bound, value - low),
            Side::AtMost => (want.bound - value, high - value),
        };
        let users = self.ratio?.users as f64 * (half / margin).powi(2);
        (margin > 0.0 && half > margin && users < 1e6).then(|| users.ceil() as u64)
    }
}

/// The 97.5th percentile of the normal distribution.
const NORMAL_975: f64 = 1.959_964;

/// Delays as quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// How many there are.
    pub n: usize,
    /// The median.
    pub p50: Option<u64>,
    /// The 95th percentile.
    pub p95: Option<u64>,
    /// The longest.
    pub max: Option<u64>,
    /// The confidence of the median.
    pub p50_ci: Option<Interval>,
    /// The confidence of the 95th percentile.
    pub p95_ci: Option<Interval>,
}

impl Quantiles {
    /// Of `delays` of up to `users` users, none of which a setting lets exceed `longest`.
    fn of(delays: &mut Delays, tally: &mut Tally, users: usize, longest: u64) -> Self {
        delays.sort_unstable();
        let at = |q| quantile(delays, q).map(|(delay, _)| delay);
        let [p50_ci, p95_ci] = [0.5, 0.95].map(|q| tally.interval(delays, q, users, longest));
        Self { n: delays.len(), p50: at(0.5), p95: at(0.95), max: at(1.0), p50_ci, p95_ci }
    }
}

/// A measure over the users: what a tenth of them is below, the median, and what a tenth is above.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The tenth percentile.
    pub p10: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// The ninetieth percentile.
    pub p90: Option<f64>,
    /// How many users are below the limit that was set to it, of how many.
    pub below: Option<(usize, usize)>,
}

/// One setting, measured. The formulas are in the README.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The setting.
    pub setting: Setting,
    /// TypingStarted sent.
    pub started: u64,
    /// TypingStopped sent.
    pub stopped: u64,
    /// Requests for each minute of composing.
    pub req_per_min: Estimate,
    /// TypingStarted alone, for each minute of composing.
    pub started_per_min: Option<f64>,
    /// Requests for each message.
    pub req_per_msg: Estimate,
    /// The share of composing time with the icon on.
    pub recall: Estimate,
    /// The recall of single users.
    pub users: Spread,
    /// The share of the icon's time in which the user was not composing.
    pub false_on: Estimate,
    /// Seconds of that for each abandoned draft.
    pub false_on_per_abandoned: Estimate,
    /// Times that the icon went off and on again within one message, for each message.
    pub flicker_per_msg: Estimate,
    /// The same for each minute of composing.
    pub flicker_per_min: Estimate,
    /// The share of sent messages that came while the icon was off.
    pub off_early: Estimate,
    /// From an abandoned draft's last key to the icon's end.
    pub off: Quantiles,
    /// From a message's first key to the icon.
    pub on: Quantiles,
    /// How long an agent who begins to look waits for something new, in milliseconds.
    pub late_wait: Estimate,
    /// The same, the 99th percentile.
    pub late_wait_p99: Option<u64>,
    /// The share of a timer's stops that a key followed within `away`, before anything else happened.
    pub wrong_stop: Estimate,
    /// How many people may compose at a time.
    pub safe_composers: Option<u64>,
    /// How many conversations that are, if composing takes the share of them that it took here.
    pub safe_conversations: Option<u64>,
    /// What the agent would see if the receiver dropped icons by itself, where it is not known whether it does: of this
    /// only what can be seen is counted.
    pub dropped: Option<Box<Row>>,
    /// What it misses and falsely shows with each receiver that is possible, in the order of [`IconTtl::cases`].
    ///
    /// [`IconTtl::cases`]: super::plan::IconTtl::cases
    pub sights: Vec<Sight>,
    /// No other row is better in requests, recall or off-latency without being worse in another of them.
    pub pareto: bool,
    /// It keeps every limit.
    pub meets: bool,
    /// The chance that it keeps them with other users of the same kind: of the limits, the least.
    pub chance: Option<f64>,
}

/// What a setting gives with one receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// After how long the receiver drops an icon by itself, in milliseconds.
    pub icon_ttl: Option<u64>,
    /// Seconds missed, and seconds falsely shown by their weight, for each minute of composing.
    pub cost: Option<f64>,
    /// The share of composing time with the icon on.
    pub recall: Option<f64>,
}

impl Row {
    /// What it costs with the receiver that is the worst for it.
    pub fn worst(&self) -> Option<Sight> {
        self.sights.iter().copied().max_by(|a, b| a.cost.unwrap_or_default().total_cmp(&b.cost.unwrap_or_default()))
    }

    /// The value of `measure`, none where it is undefined, and its confidence. Times in milliseconds.
    pub fn estimate(&self, measure: Measure) -> Estimate {
        let sure = Estimate::sure;
        let millis = |value: Option<u64>, ci| Estimate { ci, ..sure(value.map(|millis| millis as f64)) };
        match measure {
            Measure::Cost => sure(self.worst().and_then(|worst| worst.cost)),
            Measure::Recall => self.recall,
            Measure::Missed => Estimate {
                value: self.recall.value.map(|recall| 1.0 - recall),
                ci: self.recall.ci.map(|[low, high]| [1.0 - high, 1.0 - low]),
                ratio: self.recall.ratio.map(Ratio::complement),
            },
            Measure::FalseOn => self.false_on,
            Measure::Flicker => self.flicker_per_msg,
            Measure::FlickerPerMinute => self.flicker_per_min,
            Measure::OffEarly => self.off_early,
            Measure::OffP50 => millis(self.off.p50, self.off.p50_ci),
            Measure::OffP95 => millis(self.off.p95, self.off.p95_ci),
            Measure::OffMax => millis(self.off.max, None),
            Measure::Requests => self.req_per_min,
            Measure::RequestsPerMessage => self.req_per_msg,
            Measure::WrongStop => self.wrong_stop,
            Measure::LateWait => self.late_wait,
            Measure::LateWaitP99 => millis(self.late_wait_p99, None),
            Measure::Composers => sure(self.safe_composers.map(|people| people as f64)),
            Measure::Check => sure(Some(self.setting.check as f64)),
            Measure::Dismiss => sure(Some(self.setting.dismiss as f64)),
        }
    }

    /// The value of `measure` alone.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.estimate(measure).value
    }
}

/// What is counted under one setting.
struct Count {
    setting: Setting,
    rules: Rules,
    sums: Vec<Sums>,
    /// With the receiver that is shown beside the first, if there is one.
    dropped: Option<Vec<Sums>>,
    lags: Lags,
    dropped_lags: Lags,
    waits: Vec<u64>,
    /// With each receiver that is possible.
    seen: Vec<Seen>,
}

impl Count {
    fn new(setting: Setting, plan: &Plan, users: usize) -> Self {
        Self {
            setting,
            rules: setting.rules(plan.max_typing),
            sums: vec![Sums::default(); users],
            dropped: plan.icon_ttl.second().map(|_| vec![Sums::default(); users]),
            lags: Lags::default(),
            dropped_lags: Lags::default(),
            waits: Vec::new(),
            seen: vec![Seen::default(); plan.icon_ttl.cases().len()],
        }
    }
}

/// What the measuring of one setting needs, and what it leaves for the next one to use again.
pub(super) struct Meter<'a> {
    study: &'a Study,
    plan: &'a Plan,
    typed: &'a [Typed],
    play: Play,
    shown: Shown,
    tally: Tally,
}

impl<'a> Meter<'a> {
    pub(super) fn new(study: &'a Study, plan: &'a Plan, typed: &'a [Typed]) -> Self {
        Self { study, plan, typed, play: Play::default(), shown: Shown::default(), tally: Tally::default() }
    }

    /// Plays every conversation under `setting`, and counts.
    pub(super) fn measure(&mut self, setting: Setting) -> Row {
        self.measure_all(&[setting]).remove(0)
    }

    /// The same under each of `settings`, conversation by conversation: what is read of one is at hand for the next setting.
    pub(super) fn measure_all(&mut self, settings: &[Setting]) -> Vec<Row> {
        let cases = self.plan.icon_ttl.cases();
        let users = self.study.users;
        let mut counts: Vec<Count> = settings.iter().map(|setting| Count::new(*setting, self.plan, users)).collect();
        for (number, timeline) in self.study.timelines.iter().enumerate() {
            for count in &mut counts {
                self.count(number, timeline, &cases, count);
            }
        }
        counts.into_iter().map(|count| self.row_of_count(&cases, count)).collect()
    }

    fn count(&mut self, number: usize, timeline: &Timeline, cases: &[Option<u64>], count: &mut Count) {
        let (plan, user) = (self.plan, timeline.user as usize);
        let seed = plan.seed.wrapping_add(number as u64);
        plan.link.play(timeline, &count.rules, plan.truth.away, seed, &mut self.play);
        self.shown.follow(&self.play.arrivals, plan.icon_ttl.first(), timeline.end);
        count.waits.extend_from_slice(&self.shown.waits);
        let longest = self.shown.waits.iter().copied().max().unwrap_or_default();
        let (play, shown, lags) = (&self.play, &mut self.shown, &mut count.lags);
        let first = Seen::added(&mut count.sums[user], |sums| sums.add(timeline, play, shown, lags));
        for (ttl, seen) in cases.iter().zip(&mut count.seen) {
            let same = *ttl == plan.icon_ttl.first() || ttl.is_some_and(|ttl| longest < ttl);
            *seen += match &mut count.dropped {
                Some(dropped) if *ttl == plan.icon_ttl.second() => {
                    if !same {
                        shown.follow(&play.arrivals, *ttl, timeline.end);
                    }
                    let lags = &mut count.dropped_lags;
                    Seen::added(&mut dropped[user], |sums| sums.add_sight(timeline, shown, lags))
                }
                // No icon is old enough to be dropped.
                _ if same => first,
                _ => Seen::of_arrivals(timeline, &play.arrivals, ttl.unwrap_or(u64::MAX)),
            };
        }
    }

    fn row_of_count(&mut self, cases: &[Option<u64>], mut count: Count) -> Row {
        let composing = Typed::total(self.typed).composing;
        let sight = |(ttl, seen): (&Option<u64>, &Seen)| Sight {
            icon_ttl: *ttl,
            cost: ratio(seen.cost(composing, self.plan.false_cost) / 1_000.0, minutes(composing)),
            recall: ratio(seen.on_composing, composing),
        };
        let sights = cases.iter().zip(&count.seen).map(sight).collect();
        let dropped = count.dropped.take();
        let dropped = dropped.map(|sums| Box::new(self.sight_row(count.setting, &sums, &mut count.dropped_lags)));
        Row { dropped, sights, ..self.row(count.setting, &count.sums, &mut count.lags, &mut count.waits) }
    }

    /// What each of `settings` costs for each minute of composing, where `truth` says when that is, with the receiver that
    /// is known.
    pub(super) fn costs(&mut self, settings: &[Setting], truth: Truth) -> Vec<Option<f64>> {
        let (plan, ttl) = (self.plan, self.plan.icon_ttl.first());
        let mut seen = vec![Seen::default(); settings.len()];
        let mut composing = 0.0;
        for (number, timeline) in self.study.timelines.iter().enumerate() {
            let (events, runs) = (timeline.events.clone(), timeline.runs.clone());
            let mut own = Timeline { events, runs, composing: Vec::new(), ..*timeline };
            own.composing = truth.intervals(&own.events, own.end);
            let counted = own.composing.iter().filter(|interval| interval.counts);
            composing += counted.map(|interval| interval.to - interval.from).sum::<u64>() as f64;
            for (setting, seen) in settings.iter().zip(&mut seen) {
                let (rules, seed) = (setting.rules(plan.max_typing), plan.seed.wrapping_add(number as u64));
                plan.link.play(&own, &rules, truth.away, seed, &mut self.play);
                *seen += Seen::of_arrivals(&own, &self.play.arrivals, ttl.unwrap_or(u64::MAX));
            }
        }
        let cost = |seen: &Seen| ratio(seen.cost(composing, plan.false_cost) / 1_000.0, minutes(composing));
        seen.iter().map(cost).collect()
    }

    /// What each user gets from `setting` with a receiver that drops icons after `ttl`.
    pub(super) fn by_user(&mut self, setting: Setting, ttl: Option<u64>) -> Vec<UserShare> {
        let rules = setting.rules(self.plan.max_typing);
        let mut users = vec![UserShare::default(); self.study.users];
        for (number, timeline) in self.study.timelines.iter().enumerate() {
            let seed = self.plan.seed.wrapping_add(number as u64);
            self.plan.link.play(timeline, &rules, self.plan.truth.away, seed, &mut self.play);
            let user = &mut users[timeline.user as usize];
            user.requests += (self.play.started + self.play.stopped) as f64;
            user.seen += Seen::of_arrivals(timeline, &self.play.arrivals, ttl.unwrap_or(u64::MAX));
        }
        for (user, typed) in users.iter_mut().zip(self.typed) {
            user.composing = typed.composing;
        }
        users
    }

    /// What of a row can be seen: without the intervals and the single users, which are not shown of it.
    fn sight_row(&mut self, setting: Setting, sums: &[Sums], lags: &mut Lags) -> Row {
        let whole = parts(&Sums::total(sums), &Typed::total(self.typed));
        let estimates = whole.map(|(part, base)| Estimate::sure(ratio(part, base)));
        self.row_of(setting, (sums, estimates, Spread::default()), lags, &mut [])
    }

    fn row(&mut self, setting: Setting, sums: &[Sums], lags: &mut Lags, waits: &mut [u64]) -> Row {
        let users = spread(sums, self.typed, self.plan);
        self.row_of(setting, (sums, measures(sums, self.typed), users), lags, waits)
    }

    fn row_of(
        &mut self,
        setting: Setting,
        (sums, estimates, spread): (&[Sums], [Estimate; MEASURES], Spread),
        lags: &mut Lags,
        waits: &mut [u64],
    ) -> Row {
        let (all, typed) = (Sums::total(sums), Typed::total(self.typed));
        let estimate = |i: usize| estimates[i];
        let (room, duty) = (self.room(estimates[REQUESTS].value, &typed), ratio(typed.composing, typed.life));
        let (users, longest, tally) = (sums.len(), setting.longest(self.plan), &mut self.tally);
        let (off, on) =
            (Quantiles::of(&mut lags.off, tally, users, longest), Quantiles::of(&mut lags.on, tally, users, u64::MAX));
        Row {
            setting,
            started: all.started as u64,
            stopped: all.stopped as u64,
            recall: estimate(0),
            users: spread,
            false_on: estimate(1),
            false_on_per_abandoned: estimate(2),
            req_per_min: estimate(3),
            started_per_min: ratio(all.started, minutes(typed.composing)),
            req_per_msg: estimate(4),
            flicker_per_msg: estimate(5),
            flicker_per_min: estimate(6),
            off_early: estimate(7),
            late_wait: estimate(8),
            wrong_stop: estimate(9),
            late_wait_p99: wait_quantile(waits, 0.99),
            off,
            on,
            safe_composers: room.map(|room| room as u64),
            safe_conversations: room.zip(duty).map(|(room, duty)| (room / duty).min(SESSIONS_MAX) as u64),
            dropped: None,
            sights: Vec::new(),
            pareto: false,
            meets: false,
            chance: None,
        }
    }

    /// How many people may compose at a time, if each takes so many requests a minute and the messages that were sent here.
    fn room(&self, req_per_min: Option<f64>, typed: &Typed) -> Option<f64> {
        let messages = ratio(typed.sent, minutes(typed.composing))?;
        headroom(self.plan.limit, req_per_min.map(|requests| requests + messages)).map(|room| room.min(SESSIONS_MAX))
    }
}

/// The sessions that an org may have at once.
const SESSIONS_MAX: f64 = 11_000.0;

/// How long the icon was on, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    on: f64,
    pub(super) on_composing: f64,
}

impl Seen {
    /// What [`Sums::add_sight`] counts of the icon's time, and nothing else, with a receiver that drops an icon `ttl` after its
    /// latest TypingStarted.
    fn of_arrivals(timeline: &Timeline, arrivals: &[Arrival], ttl: u64) -> Self {
        let (mut on, mut on_composing) = (0, 0);
        let mut intervals = timeline.composing.iter().filter(|interval| interval.counts).peekable();
        let mut shown = |from: u64, to: u64| {
            let to = to.min(from.saturating_add(ttl)).min(timeline.end);
            if from >= to {
                return;
            }
            on += to - from;
            while intervals.next_if(|interval| interval.to <= from).is_some() {}
            // The next icon may be within the last of these intervals, too.
            while let Some(interval) = intervals.peek().filter(|interval| interval.from < to) {
                on_composing += interval.to.min(to) - interval.from.max(from);
                if interval.to >= to {
                    break;
                }
                intervals.next();
            }
        };
        let mut latest = None;
        for arrival in arrivals {
            if let Some(from) = latest {
                shown(from, arrival.at);
            }
            latest = (arrival.reason.indicator() == Indicator::TypingStarted).then_some(arrival.at);
        }
        if let Some(from) = latest {
            shown(from, u64::MAX);
        }
        Self { on: on as f64, on_composing: on_composing as f64 }
    }

    /// What `add` adds to `sums`.
    fn added(sums: &mut Sums, add: impl FnOnce(&mut Sums)) -> Self {
        let (on, on_composing) = (sums.on, sums.on_composing);
        add(sums);
        Self { on: sums.on - on, on_composing: sums.on_composing - on_composing }
    }

    /// What is missed of `composing`, and what is falsely shown by its weight, in milliseconds.
    pub(super) fn cost(&self, composing: f64, false_cost: f64) -> f64 {
        composing - self.on_composing + false_cost * (self.on - self.on_composing)
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.on += other.on;
        self.on_composing += other.on_composing;
    }
}

impl UserShare {
    /// What is missed, and falsely shown by its weight: divided by the composing time, in seconds for each minute.
    pub(super) fn cost(&self, false_cost: f64) -> f64 {
        self.seen.cost(self.composing, false_cost) * SECONDS_PER_MINUTE
    }
}

const SECONDS_PER_MINUTE: f64 = 60.0;

/// What one user gets from one setting. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct UserShare {
    pub(super) composing: f64,
    pub(super) requests: f64,
    pub(super) seen: Seen,
}

const MEASURES: usize = 10;
/// The place of the requests a minute among the measures.
const REQUESTS: usize = 3;

/// The measures that are ratios of sums, in the order in which [`Meter::row`] reads them: what each user adds to both sums.
fn parts(sums: &Sums, typed: &Typed) -> [(f64, f64); MEASURES] {
    let requests = sums.started + sums.stopped;
    [
        (sums.on_composing, typed.composing),
        (sums.on - sums.on_composing, sums.on),
        (sums.on_abandoned / 1_000.0, typed.abandoned),
        (requests, minutes(typed.composing)),
        (requests, typed.counted),
        (sums.flickers, typed.counted),
        (sums.flickers, minutes(typed.composing)),
        (sums.sent_unannounced, typed.sent),
        (sums.waits_squared / 2.0, sums.waited),
        (sums.wrong_stops, sums.timer_stops),
    ]
}

/// The measures that are shares, none above 1.
const SHARES: [usize; 4] = [0, 1, 7, 9];

fn measures(sums: &[Sums], typed: &[Typed]) -> [Estimate; MEASURES] {
    let whole = parts(&Sums::total(sums), &Typed::total(typed));
    let ratios = Ratio::all(sums.iter().zip(typed).map(|(sums, typed)| parts(sums, typed)), &whole);
    std::array::from_fn(|i| {
        let most = if SHARES.contains(&i) { 1.0 } else { f64::INFINITY };
        let ci = ratios[i].map(|ratio| ratio.interval.map(|bound| bound.clamp(0.0, most)));
        Estimate { value: ratio(whole[i].0, whole[i].1), ci, ratio: ratios[i] }
    })
}

/// Milliseconds as minutes.
pub(super) fn minutes(millis: f64) -> f64 {
    millis / Duration::from_secs(60).as_millis() as f64
}

/// How many people may compose at a time so that their requests, which come as they please, exceed `limit` a second in
/// one second of a thousand: a Poisson variable with the mean m stays below m + 3.09 √m in 99.9 % of cases.
pub(super) fn headroom(limit: f64, req_per_min: Option<f64>) -> Option<f64> {
    let safe = (limit - 3.09 * limit.sqrt()).max(0.0) * 60.0;
    req_per_min.and_then(|requests| ratio(safe, requests)).map(f64::floor)
}

fn spread(sums: &[Sums], typed: &[Typed], plan: &Plan) -> Spread {
    let mut recalls: Vec<f64> =
        sums.iter().zip(typed).filter_map(|(sums, typed)| ratio(sums.on_composing, typed.composing)).collect();
    let limit = plan.wants.iter().find(|want| want.measure == Measure::Recall && want.side == Side::AtLeast);
    let below = limit.map(|want| (recalls.iter().filter(|recall| **recall < want.bound).count(), recalls.len()));
    let mut at = |q: f64| {
        let place = ((q * recalls.len() as f64).ceil() as usize).saturating_sub(1);
        (!recalls.is_empty()).then(|| *recalls.select_nth_unstable_by(place, f64::total_cmp).1)
    };
    Spread { p10: at(0.1), p50: at(0.5), p90: at(0.9), below }
}

/// The wait that a share `q` of all moments in `waits` does not exceed: an agent who begins to look within a time of length
/// l waits for anything up to l.
fn wait_quantile(waits: &mut [u64], q: f64) -> Option<u64> {
    waits.sort_unstable();
    let all: f64 = waits.iter().map(|wait| *wait as f64).sum();
    if all == 0.0 {
        return None;
    }
    // Of all moments, min(l, w) of each time wait no longer than w. Between two lengths that sum is a straight line.
    let (mut passed, mut from) = (0.0, 0.0);
    for (i, wait) in waits.iter().enumerate() {
        let (wait, longer) = (*wait as f64, (waits.len() - i) as f64);
        let here = (wait - from) * longer;
        if passed + here >= q * all {
            return Some((from + (q * all - passed) / longer).round() as u64);
        }
        (passed, from) = (passed + here, wait);
    }
    waits.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_anything_up_to_the_time_to_the_next_news() {
        assert_eq!(wait_quantile(&mut [], 0.99), None);
        assert_eq!(wait_quantile(&mut [1_000], 0.99), Some(990));
        assert_eq!(wait_quantile(&mut [1_000, 1_000], 0.5), Some(500));
        // 1,000 + 3,000 moments: by 1,000 ms 2,000 of them are over, then one for each millisecond.
        assert_eq!(wait_quantile(&mut [3_000, 1_000], 0.75), Some(2_000));
    }

    #[test]
    fn the_headroom_is_that_of_the_formula() {
        assert_eq!(headroom(2_000.0, Some(24.5)), Some(4_559.0));
        assert_eq!(headroom(2_000.0, Some(0.0)), None);
        assert_eq!(headroom(2_000.0, None), None);
        assert_eq!(headroom(1.0, Some(5.0)), Some(0.0));
    }
}
