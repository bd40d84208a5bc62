//! Which setting to take: limits kept, the objective made small; and what an operator should be warned of.

use std::cmp::Ordering;

use super::measure::Measure;
use super::plan::{IconTtl, Plan, Setting, Side, TTL_ASSUMED_MILLIS, Want};
use super::row::{Row, headroom};
use crate::engine::policy::Mode;

/// Marks the rows that no other row is better than in every respect, and those that keep every limit.
pub(super) fn mark(rows: &mut [Row], plan: &Plan) {
    let points: Vec<[f64; 3]> = rows.iter().map(point).collect();
    for (row, point) in rows.iter_mut().zip(&points) {
        row.pareto = !points.iter().any(|other| dominates(other, point));
        row.meets = plan.wants.iter().all(|want| keeps(row, want, plan));
        let chances = plan.wants.iter().filter_map(|want| row.estimate(want.measure).chance(want));
        row.chance = chances.min_by(f64::total_cmp);
    }
}

/// Whether a limit is kept: by the side of the confidence interval that is nearer to it. What is undefined is kept only
/// where the setting itself bounds it, never for want of data.
fn keeps(row: &Row, want: &Want, plan: &Plan) -> bool {
    worse_end(row, want, plan).is_some_and(|bound| want.miss(bound) == 0.0)
}

fn worse_end(row: &Row, want: &Want, plan: &Plan) -> Option<f64> {
    let estimate = row.estimate(want.measure);
    match (estimate.ci, want.side) {
        (Some([low, _]), Side::AtLeast) => Some(low),
        (Some([_, high]), Side::AtMost) => Some(high),
        (None, _) => estimate.value.or_else(|| by_construction(row, want.measure, plan)),
    }
}

/// What it would take for `row` to keep the limits that it fails: a looser limit, or more users.
pub(super) fn nearest_needs(row: &Row, failed: &[usize], plan: &Plan) -> Vec<String> {
    let needs = failed.iter().map(|place| &plan.wants[*place]).filter_map(|want| {
        let bound = worse_end(row, want, plan)?;
        // Rounded to the looser side, or it would not be kept as it is shown.
        let (unit, outwards) = (want.measure.unit(), if want.side == Side::AtLeast { -1.0 } else { 1.0 });
        let looser = Want { bound: bound + outwards * unit.grain() / 2.0, ..*want };
        let estimate = row.estimate(want.measure);
        let users = estimate.users_for(want).map_or_else(String::new, |users| format!(" (or {users} users)"));
        Some(format!("{looser}{users}"))
    });
    needs.collect()
}

/// What an undefined measure can't exceed, whatever users do, in milliseconds.
fn by_construction(row: &Row, measure: Measure, plan: &Plan) -> Option<f64> {
    let off = measure.is_of_lingering();
    off.then_some(row.setting.longest(plan) as f64)
}

/// What a setting costs in three respects: requests, missed composing, off-latency. What is undefined is the same for
/// all settings, and tells none from another.
fn point(row: &Row) -> [f64; 3] {
    [Measure::Requests, Measure::Missed, Measure::OffP95].map(|measure| row.get(measure).unwrap_or_default())
}

fn dominates<const N: usize>(one: &[f64; N], other: &[f64; N]) -> bool {
    one.iter().zip(other).all(|(a, b)| a <= b) && one != other
}

/// The rows that keep every limit and the share of the org's requests that typing may take, the best first. `peak` people
/// type at once.
pub(crate) fn ranking(rows: &[Row], plan: &Plan, peak: u64) -> Vec<usize> {
    let fits = |row: &Row| {
        let room = headroom(plan.limit * plan.share, row.req_per_min.value);
        room.is_none_or(|room| room >= peak as f64)
    };
    let mut found: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].meets && fits(&rows[*row])).collect();
    found.sort_by(|a, b| better(&rows[*a], &rows[*b], plan));
    found
}

/// What is asked of [`Question::choose`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) rows: &'a [Row],
    pub(super) plan: &'a Plan,
    /// The longest that an icon may stay on after the last key, in milliseconds; none: as long as it likes.
    pub(super) linger_max: Option<u64>,
}

impl Question<'_> {
    /// The row to take among `among`. The mode and the dismissal have the least `known` cost, which is that of what is known
    /// of the receiver; the check then has the least `feared` cost, that of all a receiver may do. Costs that are next to
    /// equal tell nothing apart: then what is in force is preferred, or else the shorter dismissal and the longer check.
    ///
    /// An icon that may stay on for longer than `linger_max` is not taken.
    pub(super) fn choose(
        &self,
        among: &[usize],
        known: impl Fn(&Row) -> Option<f64>,
        feared: impl Fn(&Row) -> Option<f64>,
    ) -> Option<usize> {
        let (rows, now) = (self.rows, self.plan.current);
        let costs = among
            .iter()
            .filter(|row| self.is_within(&rows[**row].setting))
            .filter_map(|row| Some((*row, known(&rows[*row])?)));
        let costs: Vec<(usize, f64)> = costs.collect();
        let least = |keep: &dyn Fn(&Setting) -> bool| {
            let kept = costs.iter().filter(|(row, _)| keep(&rows[*row].setting));
            kept.map(|(_, cost)| *cost).min_by(f64::total_cmp)
        };
        let (in_force, any) = (least(&|own| own.mode == now.mode), least(&|_| true)?);
        let stays = in_force.is_some_and(|cost| cost <= any * (1.0 + MODE_TIE));
        let fits = |own: &Setting| (own.mode == now.mode) == stays;
        let costs_here = costs.iter().map(|(row, cost)| (rows[*row].setting, *cost)).filter(|(own, _)| fits(own));
        let dismiss = self.dismissal(costs_here)?.dismiss;
        let checks = costs.iter().map(|(row, _)| *row).filter(|row| {
            let own = rows[*row].setting;
            fits(&own) && own.dismiss == dismiss
        });
        let checks: Vec<(usize, f64)> = checks.filter_map(|row| Some((row, feared(&rows[row])?))).collect();
        let most = checks.iter().map(|(_, cost)| *cost).min_by(f64::total_cmp)? * (1.0 + TIE);
        let tied = checks.iter().filter(|(_, cost)| *cost <= most).map(|(row, _)| *row);
        tied.max_by_key(|row| {
            let own = rows[*row].setting;
            (own.check == now.check, own.check)
        })
    }

    fn is_within(&self, setting: &Setting) -> bool {
        self.linger_max.is_none_or(|most| setting.longest(self.plan) <= most)
    }

    /// The setting with the dismissal to take, by their costs: that in force, or else the shortest of those that cost next
    /// to nothing more than the least.
    pub(super) fn dismissal(&self, costs: impl Iterator<Item = (Setting, f64)>) -> Option<Setting> {
        let costs: Vec<(Setting, f64)> = costs.filter(|(own, _)| self.is_within(own)).collect();
        let most = costs.iter().map(|(_, cost)| *cost).min_by(f64::total_cmp)? * (1.0 + TIE);
        let tied = costs.iter().filter(|(_, cost)| *cost <= most).map(|(own, _)| *own);
        tied.min_by_key(|own| (own.dismiss != self.plan.current.dismiss, own.dismiss))
    }
}

/// The other mode has to cost less than that in force by this share: a change of mode changes what agents are used to.
const MODE_TIE: f64 = 0.10;
/// Settings whose costs differ by less than this share are as good as each other.
const TIE: f64 = 0.02;

/// Those of `ranking` that no other of them is better than in every respect, in the same order: the choices that are left
/// within the limits, where all others would only cost more.
pub(crate) fn front(rows: &[Row], ranking: &[usize], plan: &Plan) -> Vec<usize> {
    // What is asked to be small is a respect like the others: the first of the ranking is always left.
    let point = |row: &Row| {
        let [requests, missed, off] = point(row);
        [row.get(plan.minimise).unwrap_or_default(), requests, missed, off]
    };
    let points: Vec<[f64; 4]> = ranking.iter().map(|place| point(&rows[*place])).collect();
    let open = |own: &[f64; 4]| !points.iter().any(|other| dominates(other, own));
    let first = ranking.first();
    let shown = ranking.iter().zip(&points).filter(|(place, own)| Some(*place) == first || open(own));
    shown.map(|(place, _)| *place).collect()
}

/// Of `places`, those that differ from one before them in something that is seen, and not in requests alone.
pub(crate) fn distinct(rows: &[Row], places: &[usize]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for place in places {
        if !found.iter().any(|other| look_alike(&rows[*other], &rows[*place])) {
            found.push(*place);
        }
    }
    found
}

/// The shortest and the longest check of `rows` that show the same as `row` and differ in requests alone, if there are
/// others.
pub(crate) fn alike_checks(rows: &[Row], row: &Row) -> Option<(u64, u64)> {
    let alike = rows.iter().filter(|other| look_alike(row, other)).map(|other| other.setting.check);
    let (least, most) =
        alike.fold((row.setting.check, row.setting.check), |(a, b), check| (a.min(check), b.max(check)));
    (least < most).then_some((least, most))
}

/// Whether no one could see a difference: of two checks, if all goes well and the receiver keeps icons.
fn look_alike(one: &Row, other: &Row) -> bool {
    let seen = |row: &Row| {
        let of =
            |row: &Row| (row.recall.value, row.flicker_per_msg.value, row.false_on.value, row.off.p95, row.off.max);
        let sights: Vec<_> = row.sights.iter().map(|sight| (sight.cost, sight.recall)).collect();
        (row.setting.mode, row.setting.dismiss, of(row), row.dropped.as_deref().map(of), sights)
    };
    seen(one) == seen(other)
}

/// What decides between two rows: the objective, then what else an operator would look at.
pub(super) fn better(a: &Row, b: &Row, plan: &Plan) -> Ordering {
    let respects = [plan.minimise, Measure::Requests, Measure::Missed, Measure::Flicker, Measure::OffP95];
    let one = |measure: &Measure| {
        let of = |row: &Row| row.get(*measure).unwrap_or(f64::INFINITY);
        of(a).total_cmp(&of(b))
    };
    let costs = respects.iter().map(one).find(|ordering| ordering.is_ne());
    costs.unwrap_or_else(|| a.setting.cmp(&b.setting))
}

/// Where no row keeps every limit: the row that misses them by the least, with the limits that it misses.
pub(crate) fn nearest(rows: &[Row], plan: &Plan) -> Option<(usize, Vec<usize>)> {
    let miss = |row: &Row| -> f64 {
        plan.wants.iter().filter_map(|want| row.get(want.measure).map(|value| want.miss(value))).sum()
    };
    let least = (0..rows.len()).min_by(|a, b| {
        let (a, b) = (&rows[*a], &rows[*b]);
        miss(a).total_cmp(&miss(b)).then_with(|| better(a, b, plan))
    })?;
    let fails = |want: &Want| !keeps(&rows[least], want, plan);
    let failed = plan.wants.iter().enumerate().filter(|(_, want)| fails(want)).map(|(i, _)| i);
    Some((least, failed.collect()))
}

/// The most that an icon can be on while a user types on and on, where that is not all of the time.
pub(crate) fn on_at_most(setting: &Setting) -> Option<f64> {
    let gaps = setting.mode == Mode::AfterShown && setting.dismiss < setting.check;
    gaps.then(|| setting.dismiss as f64 / setting.check as f64)
}

/// What an operator should know of the setting in force (`now`) and of the one advised.
pub(crate) fn warnings(now: &Row, best: Option<&Row>, plan: &Plan, users: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (name, row) in [("now", Some(now)), ("best", best.filter(|best| best.setting != now.setting))] {
        let Some(row) = row else { continue };
        of_setting(name, row, plan, &mut found);
        of_receiver(name, row, plan, &mut found);
    }
    for want in &plan.wants {
        if now.get(want.measure).is_none() {
            let why = match want.measure {
                Measure::OffP50 | Measure::OffP95 | Measure::OffMax => {
                    "no draft was abandoned, and the setting alone bounds it"
                }
                Measure::OffEarly => "no message was sent",
                _ => "there is nothing to measure it on",
            };
            found.push(format!("{want} is not tested: {why}"));
        }
    }
    match users {
        0 | 1 => found.push("one user says nothing of others: there are no confidence intervals".to_owned()),
        2..USERS_FEW => found.push(format!("{users} users are few: with others the figures may be quite different")),
        _ => {}
    }
    found
}

fn of_setting(name: &str, row: &Row, plan: &Plan, found: &mut Vec<String>) {
    if let Some(share) = on_at_most(&row.setting) {
        found.push(format!("{name}: dismiss < check: the icon can be on at most {:.0} % of the time", 100.0 * share));
    }
    if let (Some(wrong), Some(flicker)) = (row.wrong_stop.value, row.flicker_per_msg.value)
        && row.setting.mode == Mode::Idle
        && wrong > BLINKS_WRONG
        && flicker > BLINKS_FLICKER
    {
        let (wrong, dismiss) = (100.0 * wrong, Setting::time(row.setting.dismiss));
        found.push(format!(
            "{name}: dismiss {dismiss} blinks: {wrong:.0} % of its stops are followed by more typing, {flicker:.1} a message"
        ));
    }
    if let (Some(composers), Some(requests)) = (plan.peak, row.req_per_min.value)
        && headroom(plan.limit, Some(requests)).is_some_and(|room| room < composers as f64)
    {
        let sent = composers as f64 * requests / 60.0;
        found.push(format!(
            "{name}: {composers} people typing at once send {sent:.0} requests a second; {:.0} leaves room for {}",
            plan.limit,
            row.safe_composers.unwrap_or_default()
        ));
    }
}

fn of_receiver(name: &str, row: &Row, plan: &Plan, found: &mut Vec<String>) {
    let ttl = match plan.icon_ttl {
        IconTtl::Never => return,
        IconTtl::After(ttl) => ttl,
        IconTtl::Unknown => TTL_ASSUMED_MILLIS,
    };
    if row.setting.check + plan.link.latency < ttl {
        return;
    }
    let time = Setting::time;
    match (plan.icon_ttl, row.dropped.as_ref().and_then(|dropped| dropped.recall.value)) {
        (IconTtl::Unknown, Some(recall)) => found.push(format!(
            "{name}: if the agent console drops icons after {}, the icon is on for {:.0} % of the typing: find out first \
             (--icon-ttl)",
            time(ttl),
            100.0 * recall
        )),
        _ => found.push(format!(
            "{name}: a check of {} lets the agent console drop the icon after {}: a shorter check keeps it",
            time(row.setting.check),
            time(ttl)
        )),
    }
}

/// Below so many users a confidence interval is itself uncertain.
const USERS_FEW: usize = 10;
/// A dismissal blinks if more of its stops than this are wrong, and there are more of them a message than that.
const BLINKS_WRONG: f64 = 0.8;
const BLINKS_FLICKER: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_better_in_one_respect_and_worse_in_none_dominates() {
        assert!(dominates(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0]));
        assert!(!dominates(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]));
        assert!(!dominates(&[0.0, 2.0, 5.0], &[1.0, 2.0, 4.0]));
    }
}
