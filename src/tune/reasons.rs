//! The reasons of a verdict as sentences: what is missing, who decides, and what would overturn it.

use super::Channel;
use super::advice::nearest_needs;
use super::confidence::Ratio;
use super::decision::{Compared, Evidence, MESSAGES_MIN, USERS_MIN, Verdict, paired};
use super::measure::Measure;
use super::meter::Meter;
use super::plan::{Setting, Side, TTL_ASSUMED_MILLIS, Want};
use super::row::{Row, headroom, minutes};
use super::sums::{Typed, ratio};
use super::table::seconds;

impl Evidence<'_> {
    /// What is missing before anything can be said.
    pub(super) fn lacks(&self) -> Vec<String> {
        let typed = Typed::total(self.users);
        let mut lacks = Vec::new();
        let lasting =
            || self.study.timelines.iter().flat_map(|timeline| &timeline.events).any(|e| e.lasts_millis() > 0);
        if self.study.keys() as f64 <= typed.messages && !lasting() {
            lacks.push(
                "each message is a single event, as of a paste, so that no one composed; report keystrokes".to_owned(),
            );
        } else if typed.composing == 0.0 {
            lacks.push("no one composed for any length of time; report keystrokes as they come".to_owned());
        }
        for (channel, period) in &self.suspects.periodic {
            let every = Setting::time(*period / 100 * 100);
            lacks.push(format!(
                "channel {channel} reports typing every {every}, not each key: its pauses are the reporter's; send \
                 `lasts` with each signal ({period} ms), or leave the channel out (--to)"
            ));
        }
        if typed.sent == 0.0 && typed.messages > 0.0 {
            lacks.push(
                "no message was sent: does the connector report message_sent? Without it every message is a draft"
                    .to_owned(),
            );
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

    /// Who was left out.
    pub(super) fn left_out(&self) -> Option<String> {
        let left_out = !self.suspects.stuck.iter().any(|(name, _)| self.study.names.contains(name));
        let all: Vec<String> = self
            .suspects
            .stuck
            .iter()
            .take(NAMED_MAX)
            .map(|(name, held)| format!("#{} ({})", pseudonym(name), Setting::time(held / 1_000 * 1_000)))
            .collect();
        let more = self.suspects.stuck.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if left_out { "left out for a stuck key" } else { "a stuck key is all that was recorded" };
        (!all.is_empty()).then(|| format!("{what}: user {}{more}", all.join(", ")))
    }

    /// Why no setting is left, and what it would take.
    pub(super) fn nothing_keeps(&self) -> String {
        let (plan, most) = (self.plan, self.linger_max);
        if !self.ranking.is_empty() {
            let (most, limits) = (seconds(most), if plan.wants.is_empty() { "" } else { " and keeps the limits" });
            return format!(
                "no setting tried turns the icon off within {most} of the last key{limits}, and a longer one loses more \
                 than it gains, or these traces can't tell of it: try a shorter --dismiss, or say how long it may linger \
                 (--want off_p95<=5s)"
            );
        }
        if self.rows.iter().any(|row| row.meets) {
            let kept = self.rows.iter().filter(|row| row.meets);
            let least = kept.filter_map(|row| row.req_per_min.value).min_by(f64::total_cmp);
            let fits = |share: &u32| {
                headroom(plan.limit * f64::from(*share) / 100.0, least).is_none_or(|room| room >= self.peak as f64)
            };
            let share = 100.0 * plan.share;
            let needs = (1..=100).find(fits);
            let needs = needs.map_or_else(|| "more than the org has".to_owned(), |share| format!("--share {share}%"));
            return format!(
                "no setting tried keeps typing within {share:.0} % of {} requests a second with {} people typing at once; \
                 it would take {needs}",
                plan.limit, self.peak
            );
        }
        let needs = self.nearest.map(|(place, failed)| nearest_needs(&self.rows[*place], failed, plan));
        let nearest = self.nearest.map(|(place, _)| self.rows[*place].setting);
        match nearest.zip(needs) {
            Some((nearest, needs)) if !needs.is_empty() => {
                format!("no setting tried keeps the limits; with {nearest} it would take {}", needs.join(" and "))
            }
            _ => "no setting tried keeps the limits".to_owned(),
        }
    }

    /// A user without whom the gain would be another by more than its interval.
    pub(super) fn single_user(&self, compared: &Compared) -> Option<String> {
        let all = paired(&compared.costs)?;
        let user = (0..compared.costs.len()).max_by(|a, b| {
            let pull = |user: &usize| (compared.costs[*user].0 - all.value * compared.costs[*user].1).abs();
            pull(a).total_cmp(&pull(b))
        })?;
        let others = compared.costs.iter().enumerate().filter(|(other, _)| *other != user).map(|(_, costs)| *costs);
        let rest = Ratio::of(others)?;
        let half = (rest.interval[1] - rest.interval[0]) / 2.0;
        if (rest.value - all.value).abs() <= half {
            return None;
        }
        let composing: f64 = compared.costs.iter().map(|(_, composing)| composing).sum();
        let share = ratio(100.0 * compared.costs[user].1, composing)?;
        Some(format!(
            "one user decides: #{} has {share:.0} % of the typing; without this user {:.1} s are saved rather than {:.1} s",
            pseudonym(&self.study.names[user]),
            rest.value,
            all.value
        ))
    }

    /// What hangs on a receiver that is not known.
    pub(super) fn on_receiver(&self, conditions: &[(Option<u64>, Option<Setting>)]) -> Option<String> {
        let [(_, Some(kept)), (_, Some(dropped))] = conditions else { return None };
        let after = Setting::time(TTL_ASSUMED_MILLIS);
        let told = if kept == dropped {
            format!(
                "whether the agent console drops icons by itself is not known; {kept} is the best if it keeps them or \
                 drops them after {after}"
            )
        } else {
            format!(
                "if the agent console keeps icons, {kept} is the best, if it drops them after {after}, {dropped}: find out \
                 first (typingd probe --hold 30s), and say --icon-ttl"
            )
        };
        Some(told)
    }

    /// How sure the dismissal is, and what bounds it.
    pub(super) fn on_dismissal(&self, best: &Row) -> Option<String> {
        if self.plan.minimise != Measure::Cost {
            return None;
        }
        let own = best.setting;
        let mut meter = Meter::new(self.study, self.plan, self.users);
        let (ttl, false_cost) = (self.plan.icon_ttl.first(), self.plan.false_cost);
        let [costs] = meter.by_user(own, [ttl]);
        let tried = self.ranking.iter().map(|row| self.rows[*row].setting);
        let tried: Vec<Setting> = tried.filter(|other| (other.mode, other.check) == (own.mode, own.check)).collect();
        let mut as_good: Vec<u64> = vec![own.dismiss];
        for other in tried.iter().filter(|other| other.dismiss != own.dismiss) {
            let [others] = meter.by_user(*other, [ttl]);
            let more = others
                .iter()
                .zip(&costs)
                .map(|(other, own)| (other.cost(false_cost) - own.cost(false_cost), own.composing));
            if Ratio::of(more).is_some_and(|more| more.interval[0] <= 0.0) {
                as_good.push(other.dismiss);
            }
        }
        let (least, most) = (as_good.iter().min()?, as_good.iter().max()?);
        let time = Setting::time;
        let range =
            if least == most { String::new() } else { format!("; {} to {} may be as good", time(*least), time(*most)) };
        let bound = self.linger_max.map_or_else(String::new, |most| {
            let (loses, most) = (self.silences.break_even(false_cost) == Some(most), seconds(Some(most)));
            let why = if loses { "loses more than it gains" } else { "is more than these traces can tell of" };
            format!("; an icon on for more than {most} after the last key {why}")
        });
        let longest = tried.iter().map(|setting| setting.dismiss).max();
        let edge = if longest == Some(own.dismiss) && tried.len() > 1 { ", the longest tried" } else { "" };
        Some(format!("by these users dismiss is {}{edge}{range}{bound}", time(own.dismiss)))
    }

    /// Whether the advice is the same with another silence for away.
    pub(super) fn on_away(&self, best: &Row, away: &[(u64, Option<Setting>)]) -> Option<String> {
        let (first, last) = (away.first()?.0, away.last()?.0);
        let time = Setting::time;
        let others: Vec<String> = away
            .iter()
            .filter(|(_, advice)| *advice != Some(best.setting))
            .map(|(away, advice)| {
                let dismiss = advice.map_or_else(|| "none".to_owned(), |own| time(own.dismiss).to_string());
                format!("with --away {} dismiss {dismiss}", time(*away))
            })
            .collect();
        Some(if others.is_empty() {
            format!("with --away {} to {} the advice is the same", time(first), time(last))
        } else {
            format!("--away matters: {}", others.join(", "))
        })
    }

    /// What requests mean for the choice.
    pub(super) fn on_requests(&self, best: &Row) -> String {
        let requests = best.req_per_min.value.unwrap_or_default();
        let typed = Typed::total(self.users);
        let messages = ratio(typed.sent, minutes(typed.composing)).unwrap_or_default();
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

    /// What the limits imply, and whom the setting in force leaves below them.
    pub(super) fn on_limits(&self) -> Vec<String> {
        let mut told = Vec::new();
        for want in &self.plan.wants {
            told.extend(self.implied(want));
        }
        if let Some((below, all)) = self.current.users.below
            && let Some(want) = self.plan.wants.iter().find(|want| want.measure == Measure::Recall)
        {
            let bound = want.measure.unit().show(want.bound);
            told.push(format!("with {} {below} of {all} users are below {bound}", self.current.setting));
        }
        told
    }

    /// How bad a false second is to whoever sets this limit to how long an icon lingers.
    fn implied(&self, want: &Want) -> Option<String> {
        if !want.measure.is_of_lingering() || want.side != Side::AtMost {
            return None;
        }
        let bad = |millis: f64| {
            let goes_on = self.silences.resume(millis as u64)?;
            ratio(goes_on, 1.0 - goes_on)
        };
        let (one, other) = (bad(want.bound)?, bad(want.bound + 1_000.0)?);
        let (least, most) = (one.min(other), one.max(other));
        let show = |value: f64| if value < 9.5 { format!("{value:.1}") } else { format!("{value:.0}") };
        let range = if show(least) == show(most) { show(least) } else { format!("{} to {}", show(least), show(most)) };
        Some(format!("{want}: you hold a second of icon for no one as bad as {range} missed ones"))
    }
}

/// What is said of channels that were pooled.
pub(super) fn on_channels(channels: &[Channel]) -> Option<String> {
    let told = |channel: &Channel| {
        let what = match (channel.decision.verdict, channel.decision.advice) {
            (Verdict::Change, Some(advice)) => format!("change to {advice}"),
            (Verdict::NotEnoughData, _) => "not enough data".to_owned(),
            _ => "keep".to_owned(),
        };
        format!("{} {what}", channel.name)
    };
    let all: Vec<String> = channels.iter().take(NAMED_MAX).map(told).collect();
    let more = channels.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| format!("channels are pooled above; by itself each: {}{more} (--to)", all.join(", ")))
}

/// A user's name in a sentence: four digits of the hash of an id.
pub(super) fn pseudonym(id: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    hash.as_ref()[..2].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From this share of what typing may take, requests are a reason.
const SCARCE: f64 = 0.5;
/// Users that a sentence names.
const NAMED_MAX: usize = 3;
