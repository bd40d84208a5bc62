//! What `tune` is asked: the settings to try, the limits they must keep, and how the world is modelled. Read from options
//! by name, the same on the command line and over HTTP.

use std::fmt;
use std::time::Duration;

use super::measure::{Measure, share};
use super::play::Link;
use super::truth::{Kind, Truth};
use crate::base::duration::{self, Written};
use crate::engine::policy::{Mode, Rules};

/// A timing to try. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Setting {
    /// How the icon goes off.
    pub mode: Mode,
    /// The check interval.
    pub check: u64,
    /// The time after which the icon goes off.
    pub dismiss: u64,
}

impl Setting {
    /// The setting of some rules.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { mode: rules.mode, check: millis(rules.check_interval()), dismiss: millis(rules.dismiss_after()) }
    }

    /// A time of a setting as the configuration writes it.
    #[must_use]
    pub fn time(millis: u64) -> Written {
        Written(Duration::from_millis(millis))
    }

    /// The rules of this setting; `max_typing` is never below `dismiss`, as the configuration demands.
    #[must_use]
    pub fn rules(&self, max_typing: Duration) -> Rules {
        let dismiss = Duration::from_millis(self.dismiss);
        Rules::new(self.mode, Duration::from_millis(self.check), dismiss, max_typing.max(dismiss))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.mode.name(), Self::time(self.check), Self::time(self.dismiss))
    }
}

/// A limit that a setting must keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Want {
    /// Of what.
    pub measure: Measure,
    /// On which side of the bound it must lie.
    pub side: Side,
    /// The bound, in the measure's own unit.
    pub bound: f64,
}

/// On which side of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At least so much.
    AtLeast,
    /// At most so much.
    AtMost,
}

impl Want {
    /// By how much of the bound `value` misses it; zero when it keeps it.
    #[must_use]
    pub fn miss(&self, value: f64) -> f64 {
        let over = match self.side {
            Side::AtLeast => self.bound - value,
            Side::AtMost => value - self.bound,
        };
        // Far below what any measure is known to, and above what rounding does to it.
        if over <= 1e-9 { 0.0 } else { over / self.bound.abs().max(1e-3) }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.side == Side::AtLeast { ">=" } else { "<=" };
        write!(f, "{}{sign}{}", self.measure.name(), self.measure.unit().show(self.bound))
    }
}

/// Whether the receiver is thought to drop an icon by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IconTtl {
    /// Nobody knows: it does not, and beside that what would be if it did after [`TTL_ASSUMED_MILLIS`].
    Unknown,
    /// It does not.
    Never,
    /// So many milliseconds after the latest TypingStarted.
    After(u64),
}

/// What an unknown receiver may do: Salesforce documents its sample's icon as dismissed after two seconds.
pub const TTL_ASSUMED_MILLIS: u64 = 2_000;

impl IconTtl {
    /// What the measures are taken with.
    #[must_use]
    pub const fn first(self) -> Option<u64> {
        match self {
            Self::Unknown | Self::Never => None,
            Self::After(millis) => Some(millis),
        }
    }

    /// What is shown beside that.
    #[must_use]
    pub const fn second(self) -> Option<u64> {
        match self {
            Self::Unknown => Some(TTL_ASSUMED_MILLIS),
            Self::Never | Self::After(_) => None,
        }
    }
}

/// Everything that `tune` is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The settings to try, sorted, each once.
    pub grid: Vec<Setting>,
    /// The setting in force, to compare with.
    pub current: Setting,
    /// The longest unbroken typing that is believed.
    pub max_typing: Duration,
    /// The limits.
    pub wants: Vec<Want>,
    /// What is to be as small as possible within them.
    pub minimise: Measure,
    /// When somebody counts as composing.
    pub truth: Truth,
    /// The share of sent messages taken for abandoned.
    pub abandon: Option<f64>,
    /// Whether the receiver drops icons.
    pub icon_ttl: IconTtl,
    /// How requests get there.
    pub link: Link,
    /// Requests a second that the org takes.
    pub limit: f64,
    /// How many people the operator expects to compose at a time.
    pub composers: Option<u64>,
    /// Decides what chance decides.
    pub seed: u64,
}

/// One option, with its name as the command line has it (without the dashes) and its value.
pub type Choice<'a> = (&'a str, &'a str);

impl Plan {
    /// The names of all options.
    pub const OPTIONS: [&'static str; 15] = [
        "mode",
        "check",
        "dismiss",
        "current",
        "want",
        "minimise",
        "away",
        "abandon",
        "icon-ttl",
        "latency",
        "loss",
        "limit",
        "composers",
        "truth",
        "seed",
    ];

    /// What is asked when no option says otherwise, by a daemon with the timing `rules`.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let steps = |list: &str| times(list).expect("the defaults are right");
        Self {
            grid: grid(&[Mode::Idle, Mode::AfterShown], &steps(CHECK_DEFAULT), &steps(DISMISS_DEFAULT)),
            current: Setting::of(rules),
            max_typing: rules.max_typing(),
            wants: wants(WANT_DEFAULT).expect("the defaults are right"),
            minimise: Measure::Requests,
            truth: Truth { kind: Kind::Message, away: 30_000 },
            abandon: None,
            icon_ttl: IconTtl::Unknown,
            link: Link::PERFECT,
            limit: 2_000.0,
            composers: None,
            seed: 42,
        }
    }

    /// The same with some options chosen.
    ///
    /// # Errors
    /// One sentence for each that can't be taken: its name, its value, what would be right.
    pub fn with<'a>(mut self, choices: impl IntoIterator<Item = Choice<'a>>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let (mut modes, mut checks, mut dismisses) = (vec![Mode::Idle, Mode::AfterShown], None, None);
        let mut current = None;
        for (name, value) in choices {
            let taken = match name {
                "mode" => list(value, mode).map(|read| modes = read),
                "check" => times(value).map(|read| checks = Some(read)),
                "dismiss" => times(value).map(|read| dismisses = Some(read)),
                "current" => setting(value).map(|read| current = Some(read)),
                "want" => wants(value).map(|read| self.wants = read),
                "minimise" => objective(value).map(|read| self.minimise = read),
                "away" => time(value).map(|read| self.truth.away = read),
                "abandon" => maybe(value, share).map(|read| self.abandon = read),
                "icon-ttl" => {
                    maybe(value, time).map(|read| self.icon_ttl = read.map_or(IconTtl::Never, IconTtl::After))
                }
                "latency" => span(value, LATENCY_MILLIS_MAX).map(|read| self.link.latency = read),
                "loss" => share(value).map(|read| self.link.loss = read),
                "limit" => rate(value).map(|read| self.limit = read),
                "composers" => whole(value).map(|read| self.composers = Some(read)),
                "truth" => truth(value).map(|read| self.truth.kind = read),
                "seed" => whole(value).map(|read| self.seed = read),
                _ => Err(format!("there is no such option; {} are", Self::OPTIONS.join(", "))),
            };
            if let Err(right) = taken {
                let shown: String = value.chars().take(VALUE_CHARS_MAX).collect();
                problems.push(format!("{name} = \"{}\": {right}", shown.escape_debug()));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let default = |list| times(list).expect("the defaults are right");
        let checks = checks.unwrap_or_else(|| default(CHECK_DEFAULT));
        let dismisses = dismisses.unwrap_or_else(|| default(DISMISS_DEFAULT));
        self.grid = grid(&modes, &checks, &dismisses);
        if let Some((mode, check, dismiss)) = current {
            // Whoever asks about one mode alone means it here, too.
            let only = if let [only] = modes[..] { Some(only) } else { None };
            self.current = Setting { mode: mode.or(only).unwrap_or(self.current.mode), check, dismiss };
        }
        if self.grid.len() > SETTINGS_MAX {
            let count = self.grid.len();
            return Err(vec![format!(
                "check and dismiss: {count} settings are too many; they can give {SETTINGS_MAX} at most"
            )]);
        }
        Ok(self)
    }
}

fn grid(modes: &[Mode], checks: &[u64], dismisses: &[u64]) -> Vec<Setting> {
    let mut all: Vec<Setting> = modes
        .iter()
        .flat_map(|&mode| checks.iter().map(move |&check| (mode, check)))
        .flat_map(|(mode, check)| dismisses.iter().map(move |&dismiss| Setting { mode, check, dismiss }))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|item| read(item.trim())).collect()
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::from_name(text).ok_or_else(|| "idle, after_shown or idle,after_shown would be right".to_owned())
}

/// Times of a list of times and ranges, in milliseconds.
fn times(text: &str) -> Result<Vec<u64>, String> {
    let right = || format!("{RANGE_RIGHT}, each time from 1ms to 1h");
    let mut found = Vec::new();
    for item in text.split(',') {
        let Some((from, rest)) = item.trim().split_once("..") else {
            found.push(time(item.trim()).map_err(|_| right())?);
            continue;
        };
        let (to, step) = rest.split_once('/').map_or((rest, None), |(to, step)| (to, Some(step)));
        let (from, to) = (time(from).map_err(|_| right())?, time(to).map_err(|_| right())?);
        let step = match step {
            Some(step) => time(step).map_err(|_| right())?,
            None if to.saturating_sub(from) < 2_000 => 100,
            None => 1_000,
        };
        if from > to {
            return Err(format!("a range goes from the shorter to the longer; {}", right()));
        }
        if (to - from) / step > SETTINGS_MAX as u64 {
            return Err(format!("these are more than {SETTINGS_MAX} times; a longer step after a / would be right"));
        }
        // The ends, and the whole steps between them.
        found.push(from);
        found.extend((from / step + 1..).map(|n| n * step).take_while(|at| *at < to));
        found.push(to);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// From 1 ms to 1 h, as in the configuration.
fn time(text: &str) -> Result<u64, String> {
    span(text, TIME_MILLIS_MAX).and_then(|millis| {
        if millis == 0 {
            Err(format!("a time from 1ms to {} would be right", Setting::time(TIME_MILLIS_MAX)))
        } else {
            Ok(millis)
        }
    })
}

fn span(text: &str, max: u64) -> Result<u64, String> {
    let millis = duration::parse(text).and_then(|span| u64::try_from(span.as_millis()).ok());
    millis.filter(|millis| *millis <= max).ok_or_else(|| {
        format!("a time with its unit, such as 2s or 500ms, up to {}, would be right", Setting::time(max))
    })
}

fn maybe<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "none" {
        return Ok(None);
    }
    read(text).map(Some).map_err(|right| format!("none, or {right}"))
}

/// A setting: `5s/2s`, or with its mode `idle:5s/2s`.
fn setting(text: &str) -> Result<(Option<Mode>, u64, u64), String> {
    let right =
        || "CHECK/DISMISS would be right, such as 5s/2s, with or without its mode: after_shown:5s/2s".to_owned();
    let (named, times) = text.split_once(':').map_or((None, text), |(mode, rest)| (Some(mode), rest));
    let mode = named.map(|name| Mode::from_name(name.trim()).ok_or_else(right)).transpose()?;
    let (check, dismiss) = times.split_once('/').ok_or_else(right)?;
    Ok((mode, time(check.trim()).map_err(|_| right())?, time(dismiss.trim()).map_err(|_| right())?))
}

/// Limits, such as `recall>=0.85,off_p95<=5s`; `none` for none.
fn wants(text: &str) -> Result<Vec<Want>, String> {
    if text.is_empty() || text == "none" {
        return Ok(Vec::new());
    }
    list(text, |item| {
        let place = item.find("<=").map(|at| (at, Side::AtMost)).or(item.find(">=").map(|at| (at, Side::AtLeast)));
        let Some((at, side)) = place else {
            return Err(format!("`{item}` is no limit; {WANT_DEFAULT} would be one"));
        };
        let (name, bound) = (item[..at].trim(), item[at + 2..].trim());
        let measure = Measure::from_name(name)?;
        let bound = measure.unit().read(bound).map_err(|right| format!("`{item}`: {right}"))?;
        Ok(Want { measure, side, bound })
    })
}

fn objective(text: &str) -> Result<Measure, String> {
    let measure = Measure::from_name(text)?;
    if measure.is_better_when_small() {
        return Ok(measure);
    }
    Err(format!("{text} is not to be made small; one of {} would be right", Measure::small_names().join(", ")))
}

/// Requests a second: `2000/s` or `2000`.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end().parse::<f64>().ok();
    number
        .filter(|rate| (1.0..=100_000.0).contains(rate))
        .ok_or_else(|| "requests a second from 1 to 100000, such as 2000/s, would be right".to_owned())
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number would be right".to_owned())
}

fn truth(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::name).join(", ");
    Kind::from_name(text).ok_or_else(|| format!("one of {} would be right", names()))
}

/// Fifteen check intervals, which with eleven dismissals and two modes make 330 settings.
const CHECK_DEFAULT: &str = "1s..15s";
/// Half a second, and whole seconds.
const DISMISS_DEFAULT: &str = "500ms..10s";
/// Seen most of the time, gone soon after, and an agent who opens the conversation late waits no longer than that.
pub const WANT_DEFAULT: &str = "recall>=85%,off_p95<=5s,check<=10s";
const RANGE_RIGHT: &str = "times and ranges would be right, such as 5s or 1s..15s or 2s..10s/500ms or 2s,5s,10s";
/// The longest interval that the configuration takes.
const TIME_MILLIS_MAX: u64 = 3_600_000;
/// A request that takes longer has been given up.
const LATENCY_MILLIS_MAX: u64 = 2_500;
/// A hundred check intervals by a hundred dismissals: minutes of work on a large trace, and more than a heat map shows.
pub const SETTINGS_MAX: usize = 20_000;
/// How much of a wrong value is repeated.
const VALUE_CHARS_MAX: usize = 60;
