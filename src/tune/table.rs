//! A report for the terminal: at most 25 lines of 80 columns, legible without colour.

use std::fmt::Write as _;

use super::advice;
use super::measure::Measure;
use super::plan::{Setting, WANT_DEFAULT};
use super::row::{Estimate, Row};
use super::{LAMBDAS, Report};

/// The widest line.
const COLUMNS_MAX: usize = 80;
/// The longest report.
const LINES_MAX: usize = 25;
/// Rows of the ranking, if there is room.
const ROWS_SHOWN_MAX: usize = 8;
/// The silence whose meaning is told, in milliseconds: the documented dismissal.
const SILENCE_TOLD_MILLIS: u64 = 2_000;

/// The whole report.
#[must_use]
pub fn report(report: &Report) -> String {
    let mut head = Vec::new();
    of_study(report, &mut head);
    of_current(report, &mut head);
    for warning in &report.warnings {
        head.extend(wrapped(" !  ", warning));
    }
    let mut tail = Vec::new();
    of_silence(report, &mut tail);
    of_advice(report, &mut tail);
    let mut middle = Vec::new();
    // The heading, the names of the columns, what changes against now, the ceiling.
    let room = LINES_MAX.saturating_sub(head.len() + tail.len() + 4 + heading(report).len());
    of_ranking(report, room.clamp(1, ROWS_SHOWN_MAX), &mut middle);
    head.into_iter().chain(middle).chain(tail).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

fn of_study(report: &Report, lines: &mut Vec<String>) {
    let (study, typed) = (&report.study, &report.typed);
    let (files, talks) = (report.inputs.len(), study.timelines.len());
    lines.push(format!(
        "{} · {} of {} · {} keys",
        counted(files, "file"),
        counted(talks, "conversation"),
        counted(study.users, "user"),
        thousands(study.keys()),
    ));
    let share = |part: f64| {
        super::sums::ratio(100.0 * part, typed.messages).map_or("-".into(), |share| format!("{share:.0} %"))
    };
    let duty = report.duty.map_or(String::new(), |duty| format!(", {:.0} % of the chats", 100.0 * duty));
    lines.push(format!(
        "{} ({} sent, {} abandoned) · composing {} min{duty}",
        counted(typed.messages as usize, "message"),
        share(typed.sent),
        share(typed.abandoned),
        thousands((typed.composing / 60_000.0).round() as u64),
    ));
}

fn of_current(report: &Report, lines: &mut Vec<String>) {
    let now = &report.current;
    lines.push(format!(
        "now   {}   recall {}  flicker {}/msg  off p95 {}",
        now.setting,
        percent(now.recall.value, 0),
        number(now.flicker_per_msg.value, 1),
        seconds(now.off.p95),
    ));
    let users = &now.users;
    lines.push(format!(
        "      {} requests/min  room for {} composers  recall of users {} to {}",
        number(now.req_per_min.value, 1),
        people(now.safe_composers),
        percent(users.p10, 0),
        percent(users.p90, 0),
    ));
}

/// What the ranking is under, and what made it.
fn heading(report: &Report) -> Vec<String> {
    let plan = &report.plan;
    let wants: Vec<_> = plan.wants.iter().map(ToString::to_string).collect();
    let wants = if wants.is_empty() { "no limit".to_owned() } else { wants.join(", ") };
    let text = if report.ranking.is_empty() {
        format!("none of {} settings keeps {wants}; the nearest:", report.rows.len())
    } else {
        let (kept, all) = (report.ranking.len(), report.rows.len());
        format!("best under {wants}, least {} ({kept} of {all} settings keep that):", plan.minimise.name())
    };
    wrapped("", &text)
}

fn of_ranking(report: &Report, room: usize, lines: &mut Vec<String>) {
    lines.extend(heading(report));
    let front = advice::front(&report.rows, &report.ranking);
    let mut shown: Vec<&Row> = front.iter().take(room).map(|place| &report.rows[*place]).collect();
    if let Some((place, _)) = &report.nearest {
        shown.push(&report.rows[*place]);
    }
    let minimised = extra_column(report.plan.minimise);
    let mut cells: Vec<Vec<String>> = vec![names(report, minimised)];
    cells.extend(shown.iter().enumerate().map(|(place, row)| of_row(report, place + 1, row, minimised)));
    let table = aligned(&cells);
    lines.extend(table.iter().take(2).cloned());
    if let Some(first) = shown.first().filter(|first| first.setting != report.current.setting) {
        lines.push(against(first, &report.current));
    }
    lines.extend(table.into_iter().skip(2));
    if let Some((place, failed)) = &report.nearest {
        let row = &report.rows[*place];
        let fails = failed.iter().map(|want| {
            let want = &report.plan.wants[*want];
            let value = want.measure.of(row).map_or("-".into(), |value| want.measure.unit().show(value));
            format!("{want} (it is {value})")
        });
        lines.extend(wrapped("    fails ", &fails.collect::<Vec<_>>().join(", ")));
    }
    let requests = number(report.ceiling_req_per_min, 1);
    lines.push(format!("    (an oracle: recall 100 %, flicker 0, off p95 0 s, {requests} req/min)"));
}

/// The column of an objective that has none of its own.
fn extra_column(minimise: Measure) -> Option<Measure> {
    let has_one =
        [Measure::Requests, Measure::Missed, Measure::Flicker, Measure::OffP95, Measure::Check, Measure::Dismiss];
    (!has_one.contains(&minimise)).then_some(minimise)
}

fn names(report: &Report, minimised: Option<Measure>) -> Vec<String> {
    let mut names: Vec<String> =
        ["", "mode", "check", "dismiss", "recall", "flicker/msg", "off p95", "req/min", "composers"]
            .map(str::to_owned)
            .into();
    if let Some(ttl) = report.plan.icon_ttl.second() {
        names.push(format!("@{}", Setting::time(ttl)));
    }
    names.extend(minimised.map(|measure| measure.name().to_owned()));
    names
}

fn of_row(report: &Report, place: usize, row: &Row, minimised: Option<Measure>) -> Vec<String> {
    let mut cells = vec![
        place.to_string(),
        row.setting.mode.name().to_owned(),
        Setting::time(row.setting.check).to_string(),
        Setting::time(row.setting.dismiss).to_string(),
        format!("{}{}", percent(row.recall.value, 1), plus_minus(&row.recall)),
        number(row.flicker_per_msg.value, 2),
        seconds(row.off.p95),
        number(row.req_per_min.value, 1),
        people(row.safe_composers),
    ];
    if report.plan.icon_ttl.second().is_some() {
        cells.push(percent(row.dropped.and_then(|dropped| dropped.recall), 0));
    }
    cells.extend(minimised.map(|measure| measure.of(row).map_or("-".into(), |value| measure.unit().show(value))));
    cells
}

/// What the first row changes, in one line.
fn against(row: &Row, now: &Row) -> String {
    let relative = |measure: Measure| match (measure.of(row), measure.of(now)) {
        (Some(value), Some(was)) if was > 0.0 => format!("{:+.0} %", 100.0 * (value / was - 1.0)),
        _ => "-".to_owned(),
    };
    let difference = |measure: Measure, scale: f64, unit: &str| match (measure.of(row), measure.of(now)) {
        (Some(value), Some(was)) => format!("{:+.1} {unit}", (value - was) * scale),
        _ => "-".to_owned(),
    };
    format!(
        "    vs now: recall {}, flicker {}, off p95 {}, requests {}",
        difference(Measure::Recall, 100.0, "pts"),
        relative(Measure::Flicker),
        difference(Measure::OffP95, 0.001, "s"),
        relative(Measure::Requests),
    )
}

fn of_silence(report: &Report, lines: &mut Vec<String>) {
    let silence = Setting::time(SILENCE_TOLD_MILLIS);
    let again = percent(report.silences.resume(SILENCE_TOLD_MILLIS), 0);
    let evens: Vec<_> = LAMBDAS[..2]
        .iter()
        .map(|lambda| format!("{} (lambda {lambda})", seconds(report.silences.break_even(f64::from(*lambda)))))
        .collect();
    lines.push(format!("after {silence} of silence {again} go on; break-even: {}", evens.join(", ")));
}

/// The line that applies the advice.
fn of_advice(report: &Report, lines: &mut Vec<String>) {
    match report.best() {
        Some(best) if best.setting == report.current.setting => {
            lines.push("the setting in force is the best of them: nothing to apply".to_owned());
        }
        Some(best) => lines.push(format!("apply: {}", apply(&best.setting))),
        None => lines.extend(wrapped(
            "",
            &format!("nothing to apply; --want says which limits count, by default {WANT_DEFAULT}"),
        )),
    }
}

/// The command that puts `setting` in force.
#[must_use]
pub fn apply(setting: &Setting) -> String {
    let (mode, time) = (setting.mode.name(), Setting::time);
    format!("typingd timing --mode {mode} --check {} --dismiss {}", time(setting.check), time(setting.dismiss))
}

/// Columns below each other, the second to the left, the others to the right.
fn aligned(cells: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let wide = widths.iter().sum::<usize>() + 2 * (widths.len() - 1) < COLUMNS_MAX;
    let gap = if wide { "  " } else { " " };
    let line = |row: &Vec<String>| {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!(" {}", padded.join(gap))
    };
    cells.iter().map(line).collect()
}

/// `text` in lines of at most 80 columns, the first after `mark`, the others below it.
fn wrapped(mark: &str, text: &str) -> Vec<String> {
    let indent = " ".repeat(mark.chars().count().max(2));
    let mut lines = vec![mark.to_owned()];
    let mut begun = false;
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        if begun && last.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            lines.push(format!("{indent}{word}"));
        } else {
            if begun {
                last.push(' ');
            }
            last.push_str(word);
        }
        begun = true;
    }
    lines
}

fn plus_minus(estimate: &Estimate) -> String {
    estimate.ci.map_or(String::new(), |[low, high]| format!(" ±{:.1}", 50.0 * (high - low)))
}

pub(super) fn percent(share: Option<f64>, places: usize) -> String {
    share.map_or("-".into(), |share| format!("{:.places$} %", 100.0 * share))
}

pub(super) fn number(value: Option<f64>, places: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.places$}"))
}

pub(super) fn seconds(millis: Option<u64>) -> String {
    millis.map_or("-".into(), |millis| format!("{:.1} s", millis as f64 / 1_000.0))
}

pub(super) fn people(count: Option<u64>) -> String {
    count.map_or("-".into(), thousands)
}

/// `11420` as `11,420`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}
