//! What `tune` is asked: the settings to try, the limits they must keep, and how the world is modelled. Read from options
//! by name, the same on the command line and over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::measure::Measure;
use super::play::Link;
use super::truth::{Kind, Truth};
use super::value::{ValueError, amount, list, maybe, millis, rate, share, shortened, time, times, whole};
use crate::base::duration::Written;
use crate::engine::policy::{Mode, Rules};
use crate::model::ChannelAddress;

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
    pub fn of(rules: &Rules) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self { mode: rules.mode, check: millis(rules.check_interval()), dismiss: millis(rules.dismiss_after()) }
    }

    /// A time of a setting as the configuration writes it.
    pub fn time(millis: u64) -> Written {
        Written(Duration::from_millis(millis))
    }

    /// The longest that an icon stays on after the last key, in milliseconds: what the setting promises whatever users do.
    pub fn longest(&self, plan: &Plan) -> u64 {
        let check = if self.mode == Mode::AfterShown { self.check } else { 0 };
        self.dismiss + check + plan.link.latency
    }

    /// The rules of this setting; `max_typing` is never below `dismiss`, as the configuration demands.
    pub fn rules(&self, max_typing: Duration) -> Rules {
        let dismiss = Duration::from_millis(self.dismiss);
        Rules::new(self.mode, Duration::from_millis(self.check), dismiss, max_typing.max(dismiss))
    }
}

impl FromStr for Setting {
    type Err = ValueError;

    /// Reads what [`Display`](fmt::Display) writes: `idle 10s/5s`.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (mode, check, dismiss) = setting(text).map_err(|_| NAMED_SETTING)?;
        mode.map(|mode| Self { mode, check, dismiss }).ok_or(NAMED_SETTING)
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
    /// On which side of the bound it must be.
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
    /// Not known: it does not, and beside that what would be if it did after [`TTL_ASSUMED_MILLIS`].
    Unknown,
    /// It does not.
    Never,
    /// So many milliseconds after the latest TypingStarted.
    After(u64),
}

/// What an unknown receiver may do: Salesforce documents its sample's icon as dismissed after two seconds.
pub const TTL_ASSUMED_MILLIS: u64 = 2_000;

/// The time-outs, beside none at all, among which the worst counts while the receiver's is not known.
const TTLS_SUPPOSED_MILLIS: [u64; 3] = [TTL_ASSUMED_MILLIS, 5_000, 10_000];

impl IconTtl {
    /// What the measures are taken with.
    pub const fn first(self) -> Option<u64> {
        match self {
            Self::Unknown | Self::Never => None,
            Self::After(millis) => Some(millis),
        }
    }

    /// What is shown beside that.
    pub const fn second(self) -> Option<u64> {
        match self {
            Self::Unknown => Some(TTL_ASSUMED_MILLIS),
            Self::Never | Self::After(_) => None,
        }
    }

    /// The time-outs that a setting must do well with: all that an unknown receiver may have.
    pub fn cases(self) -> Vec<Option<u64>> {
        let known = [self.first()];
        let supposed = TTLS_SUPPOSED_MILLIS.map(Some);
        known.into_iter().chain(supposed.into_iter().filter(|_| self == Self::Unknown)).collect()
    }
}

/// Everything that `tune` is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The settings to try, sorted, each once.
    pub grid: Vec<Setting>,
    /// The setting in force, to compare with.
    pub current: Setting,
    /// The timing of channels that have one of their own: what is in force there, if no setting was named.
    pub channels: Vec<(Box<str>, Rules)>,
    /// The longest unbroken typing that is believed.
    pub max_typing: Duration,
    /// The limits.
    pub wants: Vec<Want>,
    /// What is to be as small as possible within them.
    pub minimise: Measure,
    /// When a user counts as composing.
    pub truth: Truth,
    /// The share of sent messages taken for abandoned.
    pub abandon: Option<f64>,
    /// Whether the receiver drops icons.
    pub icon_ttl: IconTtl,
    /// How requests get there.
    pub link: Link,
    /// Requests a second that the org takes.
    pub limit: f64,
    /// How many missed seconds a second of icon for no one is as bad as.
    pub false_cost: f64,
    /// How many people type at once at the busiest; none: as many as in the trace's busiest five minutes.
    pub peak: Option<u64>,
    /// The share of `limit` that typing may take then.
    pub share: f64,
    /// The one channel to study; none: all.
    pub to: Option<String>,
    /// Whether channels are studied one by one as well, where there are several.
    pub by_channel: bool,
    /// Decides what chance decides.
    pub seed: u64,
}

/// One option, with its name as the command line has it (without the dashes) and its value.
pub type Choice<'a> = (&'a str, &'a str);

impl Plan {
    /// The names of all options.
    pub const OPTIONS: [&'static str; 19] = [
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
        "false-cost",
        "peak",
        "share",
        "to",
        "by-channel",
        "truth",
        "seed",
    ];

    /// What is asked when no option says otherwise, by a daemon with the timing `rules`.
    pub fn new(rules: &Rules) -> Self {
        Self {
            grid: grid(&MODES, &default(CHECK_DEFAULT), &default(DISMISS_DEFAULT)),
            current: Setting::of(rules),
            channels: Vec::new(),
            max_typing: rules.max_typing(),
            wants: Vec::new(),
            minimise: Measure::Cost,
            truth: Truth { kind: Kind::Message, away: 30_000 },
            abandon: None,
            icon_ttl: IconTtl::Unknown,
            link: Link::PERFECT,
            limit: 2_000.0,
            false_cost: 4.0,
            peak: None,
            share: 0.25,
            to: None,
            by_channel: true,
            seed: 42,
        }
    }

    /// The same, where single channels have timing of their own.
    pub fn with_channels<'a>(mut self, channels: impl IntoIterator<Item = (&'a ChannelAddress, &'a Rules)>) -> Self {
        self.channels = channels.into_iter().map(|(to, rules)| (to.as_str().into(), *rules)).collect();
        self
    }

    /// The same for the channel `to` alone: what is in force is what is in force there.
    pub(super) fn in_channel(&self, to: &str) -> Self {
        let own = self.channels.iter().find(|(name, _)| **name == *to);
        let plan = Self { channels: Vec::new(), ..self.clone() };
        match own {
            Some((_, rules)) => Self { current: Setting::of(rules), max_typing: rules.max_typing(), ..plan },
            None => plan,
        }
    }

    /// The same with some options chosen.
    ///
    /// # Errors
    /// One for each that can't be taken.
    pub fn with<'a>(mut self, choices: impl IntoIterator<Item = Choice<'a>>) -> Result<Self, Vec<OptionError>> {
        let mut problems = Vec::new();
        let (mut modes, mut checks, mut dismisses) = (MODES.to_vec(), default(CHECK_DEFAULT), default(DISMISS_DEFAULT));
        let mut current = None;
        for (name, value) in choices {
            let taken = match name {
                "mode" => list(value, mode).map(|read| modes = read),
                "check" => times(value).map(|read| checks = read),
                "dismiss" => times(value).map(|read| dismisses = read),
                "current" => setting(value).map(|read| current = Some(read)),
                "want" => wants(value).map(|read| self.wants = read),
                "minimise" => objective(value).map(|read| self.minimise = read),
                "away" => time(value).map(|read| self.truth.away = read),
                // That there are none is known then, and a trace without any needs no caution.
                "abandon" => maybe(value, share).map(|read| self.abandon = Some(read.unwrap_or_default())),
                "icon-ttl" => {
                    maybe(value, time).map(|read| self.icon_ttl = read.map_or(IconTtl::Never, IconTtl::After))
                }
                "latency" => millis(value, 0..=LATENCY_MILLIS_MAX).map(|read| self.link.latency = read),
                "loss" => share(value).map(|read| self.link.loss = read),
                "limit" => rate(value).map(|read| self.limit = read),
                "false-cost" => amount(value).map(|read| self.false_cost = read),
                "peak" => whole(value).map(|read| self.peak = Some(read)),
                "share" => share(value).map(|read| self.share = read),
                "to" => channel(value).map(|read| self.to = Some(read)),
                "by-channel" => flag(value).map(|read| self.by_channel = read),
                "truth" => truth(value).map(|read| self.truth.kind = read),
                "seed" => whole(value).map(|read| self.seed = read),
                _ => Err(ValueError::NoOption(Self::OPTIONS.join(", "))),
            };
            if let Err(why) = taken {
                problems.push(OptionError::Value { name: name.to_owned(), value: shortened(value), why });
            }
        }
        self.grid = grid(&modes, &checks, &dismisses);
        if self.grid.len() > SETTINGS_MAX && problems.is_empty() {
            problems.push(OptionError::Settings(self.grid.len()));
        }
        if let Some((mode, check, dismiss)) = current {
            // If one mode alone is tried, it is the one meant here.
            let only = if let [only] = modes[..] { Some(only) } else { None };
            self.current = Setting { mode: mode.or(only).unwrap_or(self.current.mode), check, dismiss };
            self.channels.clear();
        }
        if let Some(to) = &self.to {
            self = self.in_channel(to);
        }
        if problems.is_empty() { Ok(self) } else { Err(problems) }
    }
}

/// Why an option can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Its value is none that it can have.
    #[error("{name} = \"{value}\": {why}")]
    Value {
        /// The option.
        name: String,
        /// The value, shortened.
        value: String,
        /// What is wrong with it.
        why: ValueError,
    },
    /// There are so many settings to try.
    #[error("check and dismiss: {0} settings are too many; they can give {SETTINGS_MAX} at most")]
    Settings(usize),
}

fn default(times_default: &str) -> Vec<u64> {
    times(times_default).expect("the defaults are right")
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

fn mode(text: &str) -> Result<Mode, ValueError> {
    Mode::from_name(text).ok_or(ValueError::Expected("idle, after_shown or idle,after_shown"))
}

/// A setting: `5s/2s`, or with its mode `idle:5s/2s` or `idle 5s/2s`.
fn setting(text: &str) -> Result<(Option<Mode>, u64, u64), ValueError> {
    let text = text.trim();
    let named = text.split_once([':', ' ']).filter(|(mode, _)| !mode.contains('/'));
    let (named, times) = named.map_or((None, text), |(mode, rest)| (Some(mode), rest));
    let mode = named.map(|name| Mode::from_name(name.trim()).ok_or(SETTING)).transpose()?;
    let (check, dismiss) = times.split_once('/').ok_or(SETTING)?;
    Ok((mode, time(check.trim()).map_err(|_| SETTING)?, time(dismiss.trim()).map_err(|_| SETTING)?))
}

const SETTING: ValueError =
    ValueError::Expected("CHECK/DISMISS, such as 5s/2s, with or without its mode: after_shown:5s/2s");

const NAMED_SETTING: ValueError = ValueError::Expected("MODE CHECK/DISMISS, such as idle 10s/5s or after_shown 5s/2s");

/// Limits, such as `recall>=0.85,off_p95<=5s`; `none` for none.
fn wants(text: &str) -> Result<Vec<Want>, ValueError> {
    if text.is_empty() || text == "none" {
        return Ok(Vec::new());
    }
    list(text, |item| {
        let place = item.find("<=").map(|at| (at, Side::AtMost)).or(item.find(">=").map(|at| (at, Side::AtLeast)));
        let (at, side) = place.ok_or_else(|| ValueError::NoLimit(item.to_owned()))?;
        let measure = Measure::from_name(item[..at].trim())?;
        let bound = measure.unit().read(item[at + 2..].trim());
        let bound = bound.map_err(|why| ValueError::Limit { item: item.to_owned(), why: Box::new(why) })?;
        Ok(Want { measure, side, bound })
    })
}

fn objective(text: &str) -> Result<Measure, ValueError> {
    let measure = Measure::from_name(text)?;
    let large = || ValueError::NotSmall { name: text.to_owned(), small: Measure::small_names().join(", ") };
    measure.is_better_when_small().then_some(measure).ok_or_else(large)
}

fn channel(text: &str) -> Result<String, ValueError> {
    let valid = ChannelAddress::new(text).is_ok();
    valid.then(|| text.to_owned()).ok_or(ValueError::Expected("a channel's address of 1 to 240 characters"))
}

fn flag(text: &str) -> Result<bool, ValueError> {
    text.parse().map_err(|_| ValueError::Expected("true or false"))
}

fn truth(text: &str) -> Result<Kind, ValueError> {
    Kind::from_name(text).ok_or(ValueError::Expected("one of message, burst, sent-only"))
}

const MODES: [Mode; 2] = [Mode::Idle, Mode::AfterShown];
/// Fifteen check intervals, which with eleven dismissals and two modes make 330 settings.
const CHECK_DEFAULT: &str = "1s..15s";
/// Half a second, and whole seconds.
const DISMISS_DEFAULT: &str = "500ms..10s";
/// A request that takes longer has been given up.
const LATENCY_MILLIS_MAX: u64 = 2_500;
/// A hundred check intervals by a hundred dismissals: minutes of work on a large trace, and more than a heat map shows.
const SETTINGS_MAX: usize = 20_000;
