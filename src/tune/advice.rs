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
    }
}

/// Whether a limit is kept: by the side of the confidence interval that is nearer to it. What is undefined is kept only
/// where the setting itself bounds it, never for want of data.
fn keeps(row: &Row, want: &Want, plan: &Plan) -> bool {
    let estimate = row.estimate(want.measure);
    let bound = match (estimate.ci, want.side) {
        (Some([low, _]), Side::AtLeast) => Some(low),
        (Some([_, high]), Side::AtMost) => Some(high),
        (None, _) => estimate.value.or_else(|| by_construction(row, want.measure, plan)),
    };
    bound.is_some_and(|bound| want.miss(bound) == 0.0)
}

/// What an undefined measure can't exceed, whatever users do, in milliseconds.
fn by_construction(row: &Row, measure: Measure, plan: &Plan) -> Option<f64> {
    let Setting { mode, check, dismiss } = row.setting;
    let off = matches!(measure, Measure::OffP50 | Measure::OffP95 | Measure::OffMax);
    let longest = dismiss + plan.link.latency + if mode == Mode::AfterShown { check } else { 0 };
    off.then_some(longest as f64)
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
    if plan.minimise == Measure::Cost
        && let Some(best) = least(rows, &found, plan, |row| row.get(Measure::Cost))
        && let Some(place) = found.iter().position(|row| *row == best)
    {
        found[..=place].rotate_right(1);
    }
    found
}

/// The row of `among` with the least cost. Of those that cost next to nothing more, what is in force, or else its mode and
/// check, or else its mode, and then the longest check.
pub(super) fn least(rows: &[Row], among: &[usize], plan: &Plan, cost: impl Fn(&Row) -> Option<f64>) -> Option<usize> {
    let costs = among.iter().filter_map(|row| Some((*row, cost(&rows[*row])?)));
    let costs: Vec<(usize, f64)> = costs.collect();
    let least = costs.iter().map(|(_, cost)| *cost).min_by(f64::total_cmp)?;
    let now = plan.current;
    let respects = |&(row, cost): &(usize, f64)| {
        let own = rows[row].setting;
        let in_force = (own == now, (own.mode, own.check) == (now.mode, now.check));
        (in_force, own.mode == now.mode, own.check, std::cmp::Reverse(ordered(cost)), std::cmp::Reverse(own))
    };
    let tied = costs.iter().filter(|(_, cost)| *cost <= least * (1.0 + TIE));
    tied.max_by_key(|entry| respects(entry)).map(|(row, _)| *row)
}

/// A cost, which is never negative, as a number that compares like it.
fn ordered(cost: f64) -> u64 {
    cost.to_bits()
}

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
