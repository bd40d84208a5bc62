//! The settings of the engine: the timing of each channel and the bounds of delivery. Plain values, already validated.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{ChannelAddress, micros};

/// How the icon goes off while the user is typing or falls silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// `dismiss_after` since the last keystroke.
    #[default]
    Idle,
    /// `dismiss_after` since each TypingStarted, as Salesforce documents its sample.
    AfterShown,
}

impl Mode {
    /// The name in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::AfterShown => "after_shown",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Idle, Self::AfterShown].into_iter().find(|mode| mode.name() == name)
    }
}

/// The timing rules of one channel. Times are kept in microseconds, for they are added on every keystroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How the icon goes off.
    pub mode: Mode,
    /// Whether nothing may be sent before the conversation's `opened` or first `message_sent`.
    pub require_open: bool,
    pub(crate) check: u64,
    pub(crate) dismiss: u64,
    pub(crate) max_typing: u64,
}

impl Rules {
    /// `check`, `dismiss` and `max_typing` are more than zero; the configuration sees to that.
    pub fn new(mode: Mode, check: Duration, dismiss: Duration, max_typing: Duration) -> Self {
        Self {
            mode,
            require_open: false,
            check: micros(check).max(1),
            dismiss: micros(dismiss).max(1),
            max_typing: micros(max_typing).max(1),
        }
    }

    /// The same rules with another check interval.
    pub fn with_check(self, check: Duration) -> Self {
        Self { check: micros(check).max(1), ..self }
    }

    /// The same rules with another time until the icon goes off.
    pub fn with_dismiss(self, dismiss: Duration) -> Self {
        Self { dismiss: micros(dismiss).max(1), ..self }
    }

    /// The time between two checks.
    pub const fn check_interval(&self) -> Duration {
        Duration::from_micros(self.check)
    }

    /// The time after which the icon goes off.
    pub const fn dismiss_after(&self) -> Duration {
        Duration::from_micros(self.dismiss)
    }

    /// The longest unbroken typing that shows the icon.
    pub const fn max_typing(&self) -> Duration {
        Duration::from_micros(self.max_typing)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Mode::Idle, Duration::from_secs(5), Duration::from_secs(2), Duration::from_secs(300))
    }
}

/// All settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The timing of channels that have none of their own.
    pub rules: Rules,
    /// The timing of single channels.
    pub channels: HashMap<ChannelAddress, Rules>,
    /// The bounds of delivery.
    pub delivery: Delivery,
    /// Conversations in the table at a time.
    pub conversations_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            channels: HashMap::new(),
            delivery: Delivery::default(),
            conversations_max: 1_000_000,
        }
    }
}

impl Policy {
    /// The timing of the channel `to`.
    pub fn rules_of(&self, to: &str) -> Rules {
        self.channels.get(to).copied().unwrap_or(self.rules)
    }
}

/// The bounds of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Requests in flight at a time, over all conversations.
    pub in_flight_max: usize,
    /// Requests in any one-second window.
    pub requests_per_second_max: u32,
    /// How old a Started may be when it leaves; `None`: the channel's check interval, at most 5 s.
    pub started_lifespan: Option<Duration>,
    /// How long a Stopped is owed.
    pub stopped_lifespan: Duration,
    /// How long a rejected channel or conversation is left alone.
    pub mute_for: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            requests_per_second_max: 2_000,
            started_lifespan: None,
            stopped_lifespan: Duration::from_secs(60),
            mute_for: Duration::from_secs(300),
        }
    }
}
