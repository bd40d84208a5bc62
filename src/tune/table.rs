//! A report for the terminal: at most 25 lines of 80 columns, legible without colour.

use std::fmt::Write as _;

use super::advice;
use super::decision::Verdict;
use super::measure::Measure;
use super::plan::Setting;
use super::row::{Estimate, Row};
use super::{Channel, LAMBDAS, Report};
use crate::engine::policy::Mode;

/// The widest line.
const COLUMNS_MAX: usize = 80;
/// The longest report.
const LINES_MAX: usize = 25;
/// Rows of the ranking, if there is room.
const ROWS_SHOWN_MAX: usize = 8;
/// Rows of the ranking that warnings leave room for, if there are so many.
const ROWS_KEPT: usize = 3;
/// What many limits may take of the heading, and those that are missed of what is below the nearest row. With the rest at
/// its longest, two lines a sentence, there still is one for a row and one for warnings.
const HEADING_LINES_MAX: usize = 3;
const FAILS_LINES_MAX: usize = 3;
/// The measures that have a column of their own.
const COLUMNS: [Measure; 6] =
    [Measure::Requests, Measure::Missed, Measure::Flicker, Measure::OffP95, Measure::Check, Measure::Dismiss];
/// How long the checks of a row may be, such as `10s (1s..15s)`: not much longer than a single one.
const CHECKS_CHARS_MAX: usize = 13;
/// Channels whose advice has a line of its own.
const CHANNELS_APPLIED_MAX: usize = 2;
/// The silence whose meaning is shown, in milliseconds: the documented dismissal.
const SILENCE_SHOWN_MILLIS: u64 = 2_000;

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut head = verdict(report);
    head.extend(of_study(report));
    head.extend(of_current(report));
    let mut tail = of_silence(report);
    tail.extend(of_advice(report));

    let front = advice::front(&report.rows, &report.ranking, &report.plan);
    let mut rows: Vec<&Row> = advice::distinct(&report.rows, &front)
        .into_iter()
        .chain(report.nearest.iter().map(|(place, _)| *place))
        .map(|place| &report.rows[place])
        .collect();
    let changed = rows.first().filter(|first| first.setting != report.current.setting);
    let against = changed.map_or_else(Vec::new, |first| against(first, &report.current));
    let (heading, fails) = (heading(report), fails(report));
    // The line more is that of the columns' names.
    let taken = [&head, &heading, &against, &fails, &tail].iter().map(|part| part.len()).sum::<usize>() + 1;
    let room = LINES_MAX.saturating_sub(taken);
    let warnings = warnings(report, room.saturating_sub(rows.len().min(ROWS_KEPT)).max(1));
    shorten(&mut rows, room.saturating_sub(warnings.len()).clamp(1, ROWS_SHOWN_MAX), report.current.setting);
    let mut table = ranking(report, &rows).into_iter();

    let mut lines = head;
    lines.extend(warnings);
    lines.extend(heading);
    lines.extend(table.by_ref().take(2));
    lines.extend(against);
    lines.extend(table);
    lines.extend(fails);
    lines.extend(tail);
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Leaves the best `count` of the rows, that in force among them if it is one of the rows.
fn shorten(rows: &mut Vec<&Row>, count: usize, in_force: Setting) {
    let place = rows.iter().position(|row| row.setting == in_force);
    if let Some(place) = place.filter(|place| *place >= count && count > 1) {
        rows.swap(count - 1, place);
    }
    rows.truncate(count);
}

/// What to do, in a line.
fn verdict(report: &Report) -> Vec<String> {
    let (now, decision) = (report.current.setting, &report.decision);
    let text = match (decision.verdict, decision.advice) {
        (Verdict::Change, Some(advice)) => format!("change from {now} to {advice}"),
        (Verdict::NotEnoughData, _) => format!("not enough data; {now} stays in force"),
        _ => format!("keep {now}"),
    };
    fitted("", &text)
}

fn of_study(report: &Report) -> Vec<String> {
    let (study, typed) = (&report.study, &report.typed);
    let (files, talks) = (report.inputs.len(), study.timelines.len());
    let read = format!(
        "{} · {} of {} · {} keys",
        counted(files, "file"),
        counted(talks, "conversation"),
        counted(study.users, "user"),
        thousands(study.keys()),
    );
    let share = |part: f64| {
        super::sums::ratio(100.0 * part, typed.messages).map_or("-".into(), |share| format!("{share:.0} %"))
    };
    let duty = report.duty.map_or(String::new(), |duty| format!(", {:.0} % of the chats", 100.0 * duty));
    let composed = format!(
        "{} ({} sent, {} abandoned) · composing {} min{duty}",
        counted(typed.messages as usize, "message"),
        share(typed.sent),
        share(typed.abandoned),
        thousands((typed.composing / 60_000.0).round() as u64),
    );
    [fitted("", &read), fitted("", &composed)].concat()
}

fn of_current(report: &Report) -> Vec<String> {
    let now = &report.current;
    let seen = format!(
        "{}   icon on {} of typing, flicker {}/msg, lingers {}",
        now.setting,
        percent(now.recall.value, 0),
        number(now.flicker_per_msg.value, 1),
        seconds(now.off.p95),
    );
    let users = &now.users;
    let costs = format!(
        "{} of the times it goes off the user is still writing; of users {} to {}",
        percent(now.wrong_stop.value, 0),
        percent(users.p10, 0),
        percent(users.p90, 0),
    );
    [fitted("now   ", &seen), fitted("      ", &costs)].concat()
}

/// As many of the verdict's reasons and of the warnings as `lines_max` lines hold, and how many there are beside them.
fn warnings(report: &Report, lines_max: usize) -> Vec<String> {
    let reasons = report.decision.why.iter().map(|reason| ("  · ", reason));
    let all: Vec<_> = reasons.chain(report.warnings.iter().map(|warning| (" !  ", warning))).collect();
    fitting(all.len(), lines_max, |shown| {
        let mut lines: Vec<String> = all[..shown].iter().flat_map(|(mark, text)| wrapped(mark, text)).collect();
        if shown < all.len() {
            lines.push(format!(" !  {} more: see --format json", all.len() - shown));
        }
        lines
    })
}

/// What the ranking is under, and what made it. Limits that would fill the screen are only counted.
fn heading(report: &Report) -> Vec<String> {
    let plan = &report.plan;
    let text = |wants: &str| {
        let (kept, all) = (report.ranking.len(), report.rows.len());
        if kept == 0 {
            format!("none of {all} settings keeps {wants}; the nearest:")
        } else {
            let order = if plan.minimise == Measure::Cost { "then" } else { "by" };
            let name = plan.minimise.name();
            format!("best under {wants}, {order} the least {name} ({kept} of {all} settings keep that):")
        }
    };
    let wants: Vec<_> = plan.wants.iter().map(ToString::to_string).collect();
    let listed = wrapped("", &text(&if wants.is_empty() { "no limit".to_owned() } else { wants.join(", ") }));
    if listed.len() <= HEADING_LINES_MAX {
        return listed;
    }
    wrapped("", &text(&format!("all of the {} limits", wants.len())))
}

/// The limits that the nearest row misses.
fn fails(report: &Report) -> Vec<String> {
    let Some((place, failed)) = &report.nearest else { return Vec::new() };
    let row = &report.rows[*place];
    let miss = |place: &usize| {
        let want = &report.plan.wants[*place];
        let show = |value| want.measure.unit().show(value);
        let value = row.get(want.measure).map_or("-".into(), show);
        let kept = row.get(want.measure).is_some_and(|value| want.miss(value) == 0.0);
        let told = match value == show(want.bound) {
            _ if kept => format!("it is {value}, but not for sure"),
            true => "it is just missed".into(),
            false => format!("it is {value}"),
        };
        format!("{want} ({told})")
    };
    let misses: Vec<_> = failed.iter().map(miss).collect();
    fitting(misses.len(), FAILS_LINES_MAX, |shown| {
        let more = if shown < misses.len() { format!(", and {} more", misses.len() - shown) } else { String::new() };
        wrapped("    fails ", &(misses[..shown].join(", ") + &more))
    })
}

/// The rows below the names of their columns, the second to the left, the others to the right. Where they are too wide for
/// a terminal, those that can best be spared are left out.
fn ranking(report: &Report, rows: &[&Row]) -> Vec<String> {
    let mut columns: Vec<Vec<String>> = Vec::new();
    let mut column = |name: &str, cell: &dyn Fn(&Row) -> String| {
        columns.push([name.to_owned()].into_iter().chain(rows.iter().map(|row| cell(row))).collect());
    };
    let time = |millis| Setting::time(millis).to_string();
    let place = |row: &Row| rows.iter().position(|other| other.setting == row.setting).map_or(0, |place| place + 1);
    column("", &|row| place(row).to_string());
    column("mode", &|row| row.setting.mode.name().to_owned());
    // Checks that make no difference but in requests are one row.
    column("check", &|row| {
        let alike = advice::alike_checks(&report.rows, row);
        let all = alike.map(|(least, most)| format!("{} ({}..{})", time(row.setting.check), time(least), time(most)));
        all.filter(|all| all.len() <= CHECKS_CHARS_MAX).unwrap_or_else(|| time(row.setting.check))
    });
    column("dismiss", &|row| time(row.setting.dismiss));
    column("on while typing", &|row| format!("{}{}", percent(row.recall.value, 1), plus_minus(&row.recall)));
    column("flicker/msg", &|row| number(row.flicker_per_msg.value, 2));
    // In `idle` that is the dismissal.
    if rows.iter().any(|row| row.setting.mode == Mode::AfterShown) {
        column("lingers", &|row| seconds(row.off.p95));
    }
    column("req/min", &|row| number(row.req_per_min.value, 1));
    column("room for", &|row| people(row.safe_composers));
    if let Some(ttl) = report.plan.icon_ttl.second() {
        column(&format!("@{}", time(ttl)), &|row| {
            percent(row.dropped.as_ref().and_then(|dropped| dropped.recall.value), 0)
        });
    }
    if rows.iter().any(|row| row.chance.is_some()) {
        column("chance", &|row| chance(row.chance));
    }
    let minimise = report.plan.minimise;
    if !COLUMNS.contains(&minimise) {
        column(minimise.name(), &|row| row.get(minimise).map_or("-".into(), |value| minimise.unit().show(value)));
    }
    let width = |cells: &Vec<String>| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
    let total = |columns: &[Vec<String>]| columns.iter().map(width).sum::<usize>() + columns.len();
    for spared in ["room for", "@", "flicker/msg", "req/min", "lingers"] {
        if total(&columns) > COLUMNS_MAX {
            columns.retain(|cells| !cells[0].starts_with(spared));
        }
    }
    let gap = if total(&columns) + columns.len() - 2 < COLUMNS_MAX { 2 } else { 1 };
    let line = |at: usize| {
        columns.iter().enumerate().fold(String::new(), |mut line, (number, cells)| {
            let (cell, width, gap) = (&cells[at], width(cells), if number == 0 { 1 } else { gap });
            let _ = if number == 1 {
                write!(line, "{:gap$}{cell:<width$}", "")
            } else {
                write!(line, "{:gap$}{cell:>width$}", "")
            };
            line
        })
    };
    (0..=rows.len()).map(line).collect()
}

/// As many of `count` sentences as `lines_max` lines hold; `told` writes that many.
fn fitting(count: usize, lines_max: usize, told: impl Fn(usize) -> Vec<String>) -> Vec<String> {
    (0..=count).rev().map(&told).find(|lines| lines.len() <= lines_max).unwrap_or_else(|| told(0))
}

/// What the first row changes.
fn against(row: &Row, now: &Row) -> Vec<String> {
    let relative = |measure: Measure| match (row.get(measure), now.get(measure)) {
        (Some(value), Some(was)) if was > 0.0 => format!("{:+.0} %", 100.0 * (value / was - 1.0)),
        _ => "-".to_owned(),
    };
    let difference = |measure: Measure, scale: f64, unit: &str| match (row.get(measure), now.get(measure)) {
        (Some(value), Some(was)) => format!("{:+.1} {unit}", (value - was) * scale),
        _ => "-".to_owned(),
    };
    let text = format!(
        "vs now: on while typing {}, flicker {}, lingers {}, requests {}",
        difference(Measure::Recall, 100.0, "pts"),
        relative(Measure::Flicker),
        difference(Measure::OffP95, 0.001, "s"),
        relative(Measure::Requests),
    );
    fitted("    ", &text)
}

fn of_silence(report: &Report) -> Vec<String> {
    let silence = Setting::time(SILENCE_SHOWN_MILLIS);
    let again = percent(report.silences.resume(SILENCE_SHOWN_MILLIS), 0);
    let evens: Vec<_> = LAMBDAS[..2]
        .iter()
        .map(|lambda| format!("{} (lambda {lambda})", seconds(report.silences.break_even(f64::from(*lambda)))))
        .collect();
    fitted("", &format!("after {silence} of silence {again} go on; break-even: {}", evens.join(", ")))
}

/// The lines that apply the advice: of single channels, if it is not the same for all.
fn of_advice(report: &Report) -> Vec<String> {
    let decision = &report.decision;
    if report.channels.iter().any(|channel| channel.decision.advice != decision.advice) {
        let of = |channel: &Channel| {
            Some(format!("apply: {}", apply(Some(&channel.name), channel.decision.advice.as_ref()?)))
        };
        let lines: Vec<String> = report.channels.iter().filter_map(of).take(CHANNELS_APPLIED_MAX).collect();
        if !lines.is_empty() {
            return lines.iter().flat_map(|line| fitted("", line)).collect();
        }
    }
    let text = match report.best() {
        _ if !report.decides() && !report.ranking.is_empty() => {
            format!("these traces decide nothing: {} is undefined, for no one composed", report.plan.minimise.name())
        }
        _ if report.ranking.is_empty() => {
            "nothing to apply; --want says which limits count, --share what typing may take".to_owned()
        }
        Some(best) if !report.keeps() => format!("apply: {}", apply(None, &best.setting)),
        _ => "nothing to apply".to_owned(),
    };
    fitted("", &text)
}

/// The command that puts `setting` in force, of one channel if one is named.
pub fn apply(to: Option<&str>, setting: &Setting) -> String {
    let (mode, time) = (setting.mode.name(), Setting::time);
    let to = to.map_or_else(String::new, |to| format!("--to {} ", quoted(to)));
    format!("typingd timing {to}--mode {mode} --check {} --dismiss {}", time(setting.check), time(setting.dismiss))
}

/// `text` as one word of a shell's.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A chance in hundredths, never quite none nor all.
pub(super) fn chance(chance: Option<f64>) -> String {
    chance.map_or("-".into(), |chance| match (100.0 * chance).round() as u32 {
        _ if chance == 1.0 => "sure".into(),
        0 => "<1 %".into(),
        100 => ">99 %".into(),
        hundredths => format!("{hundredths} %"),
    })
}

/// `text` after `mark`, as it is if it fits into a line.
fn fitted(mark: &str, text: &str) -> Vec<String> {
    if mark.chars().count() + text.chars().count() <= COLUMNS_MAX {
        return vec![format!("{mark}{text}")];
    }
    wrapped(mark, text)
}

/// `text` in lines of at most 80 columns, the first after `mark`, the others below it.
fn wrapped(mark: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(mark.chars().count().max(2));
    let mut lines = Vec::new();
    let mut line = mark.to_owned();
    let mut gap = "";
    for word in text.split_whitespace() {
        if !gap.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            gap = "";
        }
        line = line + gap + word;
        gap = " ";
    }
    lines.push(line);
    lines
}

fn plus_minus(estimate: &Estimate) -> String {
    estimate.ci.map_or(String::new(), |[low, high]| format!(" ±{:.1}", 50.0 * (high - low)))
}

pub(super) fn percent(share: Option<f64>, places: usize) -> String {
    share.map_or("-".into(), |share| format!("{:.places$} %", 100.0 * share))
}

pub(super) fn number(value: Option<f64>, places: usize) -> String {
    value.map_or("-".into(), |value| if value < HUGE { format!("{value:.places$}") } else { format!("{value:.1e}") })
}

pub(super) fn seconds(millis: Option<u64>) -> String {
    millis.map_or("-".into(), |millis| format!("{:.1} s", millis as f64 / 1_000.0))
}

pub(super) fn people(count: Option<u64>) -> String {
    count.map_or("-".into(), thousands)
}

/// From here on a number's size says more than its digits.
const HUGE: f64 = 1e9;

/// `11420` as `11,420`.
pub(super) fn thousands(number: u64) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1_000), number % 1_000) }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}
