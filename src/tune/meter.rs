//! How settings are measured: every conversation is played under each of them, and counted by user.

use super::confidence::{Ratio, Tally};
use super::family::{Family, families};
use super::icon::{IconSpan, Shown};
use super::measure::Measure;
use super::plan::{Plan, Setting, Side};
use super::play::{Arrival, Link, Play};
use super::row::{Estimate, Quantiles, Row, Sight, Spread, headroom, minutes};
use super::seen::{Seen, UserShare};
use super::study::Study;
use super::sums::{Delay, Lags, Sums, Typed, ratio};
use super::timeline::{Interval, Timeline};
use super::truth::Truth;
use super::waits::{WAITS_BYTES, Waits};
use crate::engine::policy::{Mode, Rules};

/// What is counted under one setting.
struct Count {
    setting: Setting,
    rules: Rules,
    sums: Vec<Sums>,
    /// With the receiver that is shown beside the first, if there is one: the sums of all users.
    dropped: Sums,
    lags: Lags,
    dropped_lags: Lags,
    waits: Waits,
    /// With each receiver that is possible.
    seen: Vec<Seen>,
}

impl Count {
    fn new(setting: Setting, plan: &Plan, users: usize) -> Self {
        Self {
            setting,
            rules: setting.rules(plan.max_typing),
            sums: vec![Sums::default(); users],
            dropped: Sums::default(),
            lags: Lags::default(),
            dropped_lags: Lags::default(),
            waits: Waits::default(),
            seen: vec![Seen::default(); plan.icon_ttl.cases().len()],
        }
    }
}

/// What is counted with one receiver for all settings of a family with which it is the same.
#[derive(Default)]
struct Alike {
    sums: Sums,
    lags: Lags,
}

/// What the measuring of one setting needs, and what it leaves for the next one to use again.
pub(super) struct Meter<'a> {
    study: &'a Study,
    plan: &'a Plan,
    typed: &'a [Typed],
    /// Of all users.
    total: Typed,
    play: Play,
    shown: Shown,
    tally: Tally,
}

impl<'a> Meter<'a> {
    pub(super) fn new(study: &'a Study, plan: &'a Plan, typed: &'a [Typed]) -> Self {
        let (total, tally) = (Typed::total(typed), Tally::default());
        Self { study, plan, typed, total, play: Play::default(), shown: Shown::default(), tally }
    }

    /// What is held of the longest conversation of `study` while it is played, in bytes at most: an icon for each key, as it
    /// is sent by all and by one setting, and as it is seen.
    pub(super) fn playing_bytes(study: &Study) -> usize {
        let longest = study.timelines.iter().map(|timeline| timeline.events.len()).max().unwrap_or_default();
        longest * (4 * size_of::<Arrival>() + size_of::<IconSpan>() + size_of::<u64>())
    }

    /// What is held of `study` while it is counted under one setting, in bytes at most.
    pub(super) fn bytes(study: &Study, plan: &Plan) -> usize {
        let (counted, abandoned) = study.intervals();
        let receivers = 1 + usize::from(plan.icon_ttl.second().is_some());
        // A list of delays may have been made twice as long as it need be.
        study.users * size_of::<Sums>() + (counted + abandoned) * size_of::<Delay>() * 2 * receivers + WAITS_BYTES
    }

    /// Plays every conversation under `setting`, and counts.
    pub(super) fn measure(&mut self, setting: Setting) -> Row {
        self.measure_all(&[setting]).remove(0)
    }

    /// The same under each of `settings`, which are of one family, conversation by conversation: what is read of one is at
    /// hand for the next setting, and what is the same for all is done once.
    pub(super) fn measure_all(&mut self, settings: &[Setting]) -> Vec<Row> {
        let (users, plan) = (self.study.users, self.plan);
        let mut counts: Vec<Count> = settings.iter().map(|setting| Count::new(*setting, plan, users)).collect();
        if plan.link != Link::PERFECT {
            for (number, timeline) in self.study.timelines.iter().enumerate() {
                for count in &mut counts {
                    self.play_over_link(number, timeline, &count.rules);
                    self.count(timeline, count);
                }
            }
            return counts.into_iter().map(|count| self.row_of_count(count)).collect();
        }
        let mut family = Family::new(settings, plan);
        match settings.first().map(|setting| setting.mode) {
            // With a receiver that drops icons it matters when they are refreshed.
            _ if plan.icon_ttl.first().is_some() => self.measure_each(&mut family, counts),
            Some(Mode::AfterShown) => self.measure_dismissals(&mut family, counts),
            Some(Mode::Idle) => self.measure_checks(&mut family, counts),
            None => Vec::new(),
        }
    }

    fn measure_each(&mut self, family: &mut Family, mut counts: Vec<Count>) -> Vec<Row> {
        for timeline in &self.study.timelines {
            family.play(timeline);
            for count in &mut counts {
                family.play_own(timeline, &count.setting, &count.rules, &mut self.play);
                self.count(timeline, count);
            }
        }
        counts.into_iter().map(|count| self.row_of_count(count)).collect()
    }

    /// Of settings that differ in their checks alone: a receiver that keeps icons shows the same with all of them.
    fn measure_checks(&mut self, family: &mut Family, mut counts: Vec<Count>) -> Vec<Row> {
        let (plan, cases) = (self.plan, self.plan.icon_ttl.cases());
        let mut lags = Lags::default();
        for timeline in &self.study.timelines {
            family.play(timeline);
            self.shown.follow(&family.common.arrivals, None, timeline.end);
            let before = (lags.off.len(), lags.on.len());
            let mut alike = Sums::default();
            alike.add_sight(timeline, &self.shown, &mut lags);
            let (own_off, own_on) = (&lags.off[before.0..], &lags.on[before.1..]);
            for count in &mut counts {
                family.play_own(timeline, &count.setting, &count.rules, &mut self.play);
                let (play, shown) = (&self.play, &mut self.shown);
                let longest = shown.find_waits(&play.arrivals, timeline.end);
                count.waits.add(&shown.waits);
                let sums = &mut count.sums[timeline.user as usize];
                *sums += alike;
                sums.add_play(play, &shown.waits);
                for (ttl, seen) in cases.iter().zip(&mut count.seen) {
                    let same = ttl.is_none_or(|ttl| longest < ttl);
                    *seen += if same {
                        if ttl.is_some() && *ttl == plan.icon_ttl.second() {
                            count.dropped += alike;
                            count.dropped_lags.off.extend_from_slice(own_off);
                            count.dropped_lags.on.extend_from_slice(own_on);
                        }
                        Seen::of_sums(&alike)
                    } else if *ttl == plan.icon_ttl.second() {
                        shown.follow(&play.arrivals, *ttl, timeline.end);
                        let lags = &mut count.dropped_lags;
                        Seen::added(&mut count.dropped, |sums| sums.add_sight(timeline, shown, lags))
                    } else {
                        Seen::of_sums(&alike).without_dropped(timeline, &play.arrivals, ttl.unwrap_or(u64::MAX))
                    };
                }
            }
        }
        let longest = counts.iter().map(|count| count.setting.longest(plan)).max().unwrap_or_default();
        let quantiles = self.quantiles(&mut lags, longest);
        counts.into_iter().map(|count| self.row_of_count_with(count, Some(quantiles))).collect()
    }

    /// Of settings that differ in their dismissals alone: a receiver that drops icons before any of them shows the same with
    /// all of them.
    fn measure_dismissals(&mut self, family: &mut Family, mut counts: Vec<Count>) -> Vec<Row> {
        let (plan, cases) = (self.plan, self.plan.icon_ttl.cases());
        let mut alikes: Vec<Alike> = cases.iter().map(|_| Alike::default()).collect();
        let is_alike = |ttl: Option<u64>, setting: &Setting| ttl.is_some_and(|ttl| ttl < setting.dismiss);
        let any = |ttl: Option<u64>| counts.iter().any(|count| is_alike(ttl, &count.setting));
        let wanted: Vec<bool> = cases.iter().map(|ttl| any(*ttl)).collect();
        for timeline in &self.study.timelines {
            family.play(timeline);
            if !family.is_common {
                for count in &mut counts {
                    family.play_own(timeline, &count.setting, &count.rules, &mut self.play);
                    self.count(timeline, count);
                }
                continue;
            }
            for (ttl, alike) in cases.iter().zip(&mut alikes).zip(&wanted).filter(|(_, is)| **is).map(|(case, _)| case)
            {
                if *ttl == plan.icon_ttl.second() {
                    self.shown.follow(&family.common.arrivals, *ttl, timeline.end);
                    alike.sums.add_sight(timeline, &self.shown, &mut alike.lags);
                } else {
                    let seen = Seen::of_arrivals(
                        &timeline.composing,
                        timeline.end,
                        &family.common.arrivals,
                        ttl.unwrap_or(u64::MAX),
                    );
                    (alike.sums.on, alike.sums.on_composing) =
                        (alike.sums.on + seen.on, alike.sums.on_composing + seen.on_composing);
                }
            }
            for count in &mut counts {
                family.play_own(timeline, &count.setting, &count.rules, &mut self.play);
                let (play, shown) = (&self.play, &mut self.shown);
                shown.follow(&play.arrivals, None, timeline.end);
                count.waits.add(&shown.waits);
                let before = (count.lags.off.len(), count.lags.on.len());
                let mut own = Sums::default();
                own.add_sight(timeline, shown, &mut count.lags);
                let sums = &mut count.sums[timeline.user as usize];
                *sums += own;
                sums.add_play(play, &shown.waits);
                for (ttl, seen) in cases.iter().zip(&mut count.seen) {
                    if is_alike(*ttl, &count.setting) {
                        continue;
                    }
                    *seen += Seen::of_sums(&own);
                    if ttl.is_some() && *ttl == plan.icon_ttl.second() {
                        count.dropped += own;
                        count.dropped_lags.off.extend_from_slice(&count.lags.off[before.0..]);
                        count.dropped_lags.on.extend_from_slice(&count.lags.on[before.1..]);
                    }
                }
            }
        }
        for alike in &mut alikes {
            alike.lags.off.sort_unstable();
            alike.lags.on.sort_unstable();
        }
        let row = |mut count: Count| {
            for ((ttl, alike), seen) in cases.iter().zip(&alikes).zip(&mut count.seen) {
                if !is_alike(*ttl, &count.setting) {
                    continue;
                }
                *seen += Seen::of_sums(&alike.sums);
                if *ttl == plan.icon_ttl.second() {
                    count.dropped += alike.sums;
                    for (own, all) in
                        [(&mut count.dropped_lags.off, &alike.lags.off), (&mut count.dropped_lags.on, &alike.lags.on)]
                    {
                        own.extend_from_slice(all);
                    }
                }
            }
            self.row_of_count(count)
        };
        counts.into_iter().map(row).collect()
    }

    fn play_over_link(&mut self, number: usize, timeline: &Timeline, rules: &Rules) {
        let plan = self.plan;
        let seed = plan.seed.wrapping_add(number as u64);
        plan.link.play(timeline, rules, plan.truth.away, seed, &mut self.play);
    }

    /// Counts what was played last.
    fn count(&mut self, timeline: &Timeline, count: &mut Count) {
        let (plan, user) = (self.plan, timeline.user as usize);
        let cases = plan.icon_ttl.cases();
        self.shown.follow(&self.play.arrivals, plan.icon_ttl.first(), timeline.end);
        count.waits.add(&self.shown.waits);
        let longest = self.shown.waits.iter().copied().max().unwrap_or_default();
        let (play, shown, lags) = (&self.play, &mut self.shown, &mut count.lags);
        let first = Seen::added(&mut count.sums[user], |sums| sums.add(timeline, play, shown, lags));
        for (ttl, seen) in cases.iter().zip(&mut count.seen) {
            let same = *ttl == plan.icon_ttl.first() || ttl.is_some_and(|ttl| longest < ttl);
            *seen += if ttl.is_some() && *ttl == plan.icon_ttl.second() {
                if !same {
                    shown.follow(&play.arrivals, *ttl, timeline.end);
                }
                let lags = &mut count.dropped_lags;
                Seen::added(&mut count.dropped, |sums| sums.add_sight(timeline, shown, lags))
            } else if same {
                // No icon is old enough to be dropped.
                first
            } else {
                Seen::of_arrivals(&timeline.composing, timeline.end, &play.arrivals, ttl.unwrap_or(u64::MAX))
            };
        }
    }

    fn row_of_count(&mut self, count: Count) -> Row {
        self.row_of_count_with(count, None)
    }

    /// The row of `count`, with the quantiles of its delays if these are known.
    fn row_of_count_with(&mut self, mut count: Count, known: Option<[Quantiles; 2]>) -> Row {
        let (plan, setting) = (self.plan, count.setting);
        let composing = self.total.composing;
        let sight = |(ttl, seen): (&Option<u64>, &Seen)| Sight {
            icon_ttl: *ttl,
            cost: ratio(seen.cost(composing, plan.false_cost) / 1_000.0, minutes(composing)),
            recall: ratio(seen.on_composing, composing),
        };
        let sights = plan.icon_ttl.cases().iter().zip(&count.seen).map(sight).collect();
        let longest = setting.longest(plan);
        let dropped = plan.icon_ttl.second().map(|_| {
            let quantiles = self.quantiles(&mut count.dropped_lags, longest);
            Box::new(self.sight_row(setting, &count.dropped, quantiles))
        });
        let quantiles = known.unwrap_or_else(|| self.quantiles(&mut count.lags, longest));
        Row { dropped, sights, ..self.row(setting, &count.sums, quantiles, &mut count.waits) }
    }

    /// Of the delays until the icon is off, none of which exceeds `longest`, and of those until it is on.
    fn quantiles(&mut self, lags: &mut Lags, longest: u64) -> [Quantiles; 2] {
        let (users, tally) = (self.study.users, &mut self.tally);
        let off = Quantiles::of(&mut lags.off, tally, users, longest);
        [off, Quantiles::of(&mut lags.on, tally, users, u64::MAX)]
    }

    /// What each of `settings` costs for each minute of composing, where each of `truths` says when that is, with the receiver
    /// that is known: a list for each truth.
    pub(super) fn costs(&mut self, settings: &[Setting], truths: &[Truth]) -> Vec<Vec<(Setting, Option<f64>)>> {
        let plan = self.plan;
        let ttl = plan.icon_ttl.first();
        let families = families(settings, settings.len());
        let ordered: Vec<Setting> = families.iter().flatten().copied().collect();
        let mut played: Vec<Family> = families.iter().map(|family| Family::new(family, plan)).collect();
        let mut common = Play::default();
        let mut seen = vec![vec![Seen::default(); settings.len()]; truths.len()];
        let mut composing = vec![0.0; truths.len()];
        for (number, timeline) in self.study.timelines.iter().enumerate() {
            let intervals: Vec<Vec<Interval>> =
                truths.iter().map(|truth| truth.intervals(&timeline.events, timeline.end)).collect();
            for (own, composing) in intervals.iter().zip(&mut composing) {
                let counted = own.iter().filter(|interval| interval.counts);
                *composing += counted.map(|interval| interval.to - interval.from).sum::<u64>() as f64;
            }
            let mut place = 0;
            for (family, settings) in played.iter_mut().zip(&families) {
                // The lists are lent from one to the next: a conversation may be long.
                std::mem::swap(&mut family.common, &mut common);
                if plan.link == Link::PERFECT {
                    family.play(timeline);
                }
                for setting in settings {
                    let rules = setting.rules(plan.max_typing);
                    // Refreshes show nothing more.
                    let is_common = plan.link == Link::PERFECT && family.is_shown_alike() && ttl.is_none();
                    if plan.link != Link::PERFECT {
                        self.play_over_link(number, timeline, &rules);
                    } else if !is_common {
                        family.play_own(timeline, setting, &rules, &mut self.play);
                    }
                    let play = if is_common { &family.common } else { &self.play };
                    for (own, seen) in intervals.iter().zip(&mut seen) {
                        let ttl = ttl.unwrap_or(u64::MAX);
                        seen[place] += Seen::of_arrivals(own, timeline.end, &play.arrivals, ttl);
                    }
                    place += 1;
                }
                std::mem::swap(&mut family.common, &mut common);
            }
        }
        let cost = |(seen, composing): (&Seen, f64)| {
            ratio(seen.cost(composing, plan.false_cost) / 1_000.0, minutes(composing))
        };
        let of_truth = |(seen, composing): (&Vec<Seen>, &f64)| {
            ordered.iter().zip(seen).map(|(setting, seen)| (*setting, cost((seen, *composing)))).collect()
        };
        seen.iter().zip(&composing).map(of_truth).collect()
    }

    /// What each user gets from `setting` with each of some receivers, which drop icons after a time or never.
    pub(super) fn by_user<const N: usize>(&mut self, setting: Setting, ttls: [Option<u64>; N]) -> [Vec<UserShare>; N] {
        let plan = self.plan;
        let rules = setting.rules(plan.max_typing);
        let mut family = Family::new(&[setting], plan);
        let mut shares = vec![[UserShare::default(); N]; self.study.users];
        for (number, timeline) in self.study.timelines.iter().enumerate() {
            if plan.link == Link::PERFECT {
                family.play(timeline);
                family.play_own(timeline, &setting, &rules, &mut self.play);
            } else {
                self.play_over_link(number, timeline, &rules);
            }
            for (share, ttl) in shares[timeline.user as usize].iter_mut().zip(ttls) {
                let (composing, arrivals) = (&timeline.composing, &self.play.arrivals);
                share.requests += (self.play.started + self.play.stopped) as f64;
                share.seen += Seen::of_arrivals(composing, timeline.end, arrivals, ttl.unwrap_or(u64::MAX));
            }
        }
        std::array::from_fn(|place| {
            let users = shares.iter().zip(self.typed);
            users.map(|(share, typed)| UserShare { composing: typed.composing, ..share[place] }).collect()
        })
    }

    /// What of a row can be seen: without the intervals and the single users, which are not shown of it.
    fn sight_row(&mut self, setting: Setting, sums: &Sums, quantiles: [Quantiles; 2]) -> Row {
        let whole = parts(sums, &self.total);
        let estimates = whole.map(|(part, base)| Estimate::sure(ratio(part, base)));
        self.row_of(setting, sums, (estimates, Spread::default()), quantiles, &mut Waits::default())
    }

    fn row(&mut self, setting: Setting, sums: &[Sums], quantiles: [Quantiles; 2], waits: &mut Waits) -> Row {
        let users = spread(sums, self.typed, self.plan);
        let all = Sums::total(sums);
        let whole = parts(&all, &self.total);
        self.row_of(setting, &all, (measures(sums, self.typed, &whole), users), quantiles, waits)
    }

    fn row_of(
        &mut self,
        setting: Setting,
        all: &Sums,
        (estimates, spread): ([Estimate; MEASURES], Spread),
        [off, on]: [Quantiles; 2],
        waits: &mut Waits,
    ) -> Row {
        let typed = self.total;
        let estimate = |i: usize| estimates[i];
        let (room, duty) = (self.room(estimates[REQUESTS].value, &typed), ratio(typed.composing, typed.life));
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
            late_wait_p99: waits.quantile(0.99),
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

fn measures(sums: &[Sums], typed: &[Typed], whole: &[(f64, f64); MEASURES]) -> [Estimate; MEASURES] {
    let ratios = Ratio::all(sums.iter().zip(typed).map(|(sums, typed)| parts(sums, typed)), whole);
    std::array::from_fn(|i| {
        let most = if SHARES.contains(&i) { 1.0 } else { f64::INFINITY };
        let ci = ratios[i].map(|ratio| ratio.interval.map(|bound| bound.clamp(0.0, most)));
        Estimate { value: ratio(whole[i].0, whole[i].1), ci, ratio: ratios[i] }
    })
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
