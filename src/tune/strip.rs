//! A stretch of one conversation under several settings: the picture that convinces.

use super::icon::Shown;
use super::plan::{Plan, Setting};
use super::play::{Arrival, Play};
use super::study::Study;
use super::timeline::{Close, Happening, Interval, Timeline};

/// A stretch of a conversation. Times are milliseconds since the trace's first line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Strip {
    /// The end user, as the trace has it.
    pub who: String,
    /// The first moment shown.
    pub from: u64,
    /// The last moment shown.
    pub to: u64,
    /// The keystrokes.
    pub keys: Vec<u64>,
    /// The messages' sends.
    pub sends: Vec<u64>,
    /// When the user was composing, cut to the stretch.
    pub composing: Vec<(u64, u64)>,
    /// The settings.
    pub lanes: Vec<Lane>,
}

/// What became of the stretch under one setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    /// The setting.
    pub setting: Setting,
    /// When the icon was on, cut to the stretch.
    pub on: Vec<(u64, u64)>,
    /// What was told within the stretch.
    pub arrivals: Vec<Arrival>,
}

/// The length of a stretch, in milliseconds.
pub(crate) const STRIP_MILLIS: u64 = 60_000;
/// Pauses that distinguish settings.
const TELLING_MILLIS: std::ops::RangeInclusive<u64> = 2_000..=14_000;

/// Up to `count` stretches, each under each of `settings`: first one that is near the average, in which the icon is on for
/// about the share `recall` of the typing under the first setting; then one with an abandoned draft; then the most telling
/// stretches of other conversations, where there are most pauses of 2 to 14 s, and a send.
pub(crate) fn strips(
    study: &Study,
    plan: &Plan,
    settings: &[Setting],
    count: usize,
    recall: Option<f64>,
) -> Vec<Strip> {
    let mut found: Vec<(usize, usize, u64)> = study
        .timelines
        .iter()
        .enumerate()
        .filter_map(|(number, timeline)| telling(timeline).map(|(score, from)| (score, number, from)))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(count.max(AVERAGE_AMONG));
    let now = &settings[..settings.len().min(1)];
    let far = |(_, number, from): &(usize, usize, u64)| {
        let seen = seen(&strip(study, *number, *from, plan, now))?;
        Some((seen - recall?).abs())
    };
    let distances = found.iter().enumerate().filter_map(|(place, candidate)| Some((place, far(candidate)?)));
    if let Some((place, _)) = distances.min_by(|a, b| a.1.total_cmp(&b.1)) {
        found[..=place].rotate_right(1);
    }
    let mut shown: Vec<(usize, u64)> = found.iter().map(|(_, number, from)| (*number, *from)).collect();
    if let Some(draft) = draft(study) {
        shown.insert(shown.len().min(1), draft);
    }
    shown.iter().take(count).map(|(number, from)| strip(study, *number, *from, plan, settings)).collect()
}

/// A stretch with the end of an abandoned draft: of those that a stretch holds, the longest.
fn draft(study: &Study) -> Option<(usize, u64)> {
    let timelines = study.timelines.iter().enumerate();
    let drafts = timelines.flat_map(|(number, timeline)| timeline.composing.iter().map(move |own| (number, own)));
    let drafts = drafts.filter(|(_, own)| own.close == Close::Abandoned && own.to - own.from <= DRAFT_MILLIS_MAX);
    let longest = drafts.max_by_key(|(number, own)| (own.to - own.from, std::cmp::Reverse(*number)));
    longest.map(|(number, own)| (number, own.to.saturating_sub(DRAFT_MILLIS_MAX)))
}

/// The share of a stretch's typing during which the icon was on under its first setting.
fn seen(strip: &Strip) -> Option<f64> {
    let on = &strip.lanes.first()?.on;
    let both = |(from, to): &(u64, u64)| -> u64 {
        on.iter().map(|(on, off)| (*off.min(to)).saturating_sub(*on.max(from))).sum()
    };
    let composing: u64 = strip.composing.iter().map(|(from, to)| to - from).sum();
    super::sums::ratio(strip.composing.iter().map(both).sum::<u64>() as f64, composing as f64)
}

/// The conversations among which one near the average is looked for.
const AVERAGE_AMONG: usize = 40;
/// A draft that leaves room in a stretch for what the icon does after it.
const DRAFT_MILLIS_MAX: u64 = 40_000;

/// How telling the most telling stretch of a conversation is, and where it begins.
fn telling(timeline: &Timeline) -> Option<(usize, u64)> {
    let events = &timeline.events;
    let gap = |i: usize| events[i + 1].at() - events[i].at();
    let pause = |i: usize| i + 1 < events.len() && TELLING_MILLIS.contains(&gap(i));
    let (mut best, mut end, mut pauses, mut sends) = (None, 0, 0, 0);
    for begin in 0..events.len() {
        while end < events.len() && events[end].at() <= events[begin].at() + STRIP_MILLIS - LEAD_MILLIS {
            pauses += usize::from(pause(end));
            sends += usize::from(events[end].happening() == Happening::Sent);
            end += 1;
        }
        // A send in the picture is worth several pauses.
        let score = pauses + if sends > 0 { SEND_SCORE } else { 0 };
        if events[begin].happening() == Happening::Key && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, events[begin].at().saturating_sub(LEAD_MILLIS)));
        }
        pauses -= usize::from(pause(begin));
        sends -= usize::from(events[begin].happening() == Happening::Sent);
    }
    best
}

/// The stretch of conversation `number` that begins at `from`, under each of `settings`.
pub(crate) fn strip(study: &Study, number: usize, from: u64, plan: &Plan, settings: &[Setting]) -> Strip {
    let timeline = &study.timelines[number];
    let to = from + STRIP_MILLIS;
    let times = |wanted: Happening| {
        let wanted = timeline.events.iter().filter(move |event| event.happening() == wanted);
        wanted.map(|event| event.at()).filter(|at| (from..=to).contains(at)).collect()
    };
    let cut = |(a, b): (u64, u64)| (b > from && a < to).then(|| (a.max(from), b.min(to)));
    let interval = |interval: &Interval| (interval.from, interval.to);
    let lane = |setting: &Setting| {
        let (mut told, mut shown) = (Play::default(), Shown::default());
        let rules = setting.rules(plan.max_typing);
        plan.link.play(timeline, &rules, plan.truth.away, plan.seed.wrapping_add(number as u64), &mut told);
        // What comes after the observation is in the picture, too.
        shown.follow(&told.arrivals, plan.icon_ttl.first(), u64::MAX);
        let within = told.arrivals.iter().filter(|arrival| (from..=to).contains(&arrival.at));
        Lane {
            setting: *setting,
            on: shown.spans.iter().filter_map(|span| cut((span.from, span.to))).collect(),
            arrivals: within.copied().collect(),
        }
    };
    Strip {
        who: study.names[timeline.user as usize].to_string(),
        from,
        to,
        keys: times(Happening::Key),
        sends: times(Happening::Sent),
        composing: timeline.composing.iter().filter(|i| i.counts).map(interval).filter_map(cut).collect(),
        lanes: settings.iter().map(lane).collect(),
    }
}

/// What is shown before the first key of a stretch.
const LEAD_MILLIS: u64 = 1_000;
/// What a send is worth among the pauses that make a stretch telling.
const SEND_SCORE: usize = 3;
