//! The sandbox's faults: latency, wrong answers, broken connections. Seeded, so that a run repeats.
//!
//! A fault strikes *before* the request is handled, so that it was certainly not applied, or *after*, so that it was
//! applied and its sender can't know. A client has to get that difference right.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// The faults in force. As JSON: `PUT /faults`; every member may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Faults {
    /// Every request to `/api/v1/interactions` waits this long before it is handled, in milliseconds. A client that
    /// goes away meanwhile is ignored.
    pub latency_ms: u64,
    /// And up to this much longer, evenly spread, in milliseconds.
    pub jitter_ms: u64,
    /// Each request suffers at most one of these; their shares add up to at most 1.
    pub faults: Vec<Fault>,
    /// What a 429 says in `Retry-After`, in seconds; `null`: it has no such header.
    pub retry_after_seconds: Option<u64>,
    /// All channel addresses that there are: any other is answered with code 10017. Empty: every one is there.
    pub channels: Vec<String>,
    /// Channel addresses that are answered with code 10017.
    pub refused_to: Vec<String>,
    /// End users that are answered with code 10028.
    pub refused_from: Vec<String>,
    pub token: Option<TokenFault>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            jitter_ms: 0,
            faults: Vec::new(),
            retry_after_seconds: Some(1),
            channels: Vec::new(),
            refused_to: Vec::new(),
            refused_from: Vec::new(),
            token: None,
        }
    }
}

impl Faults {
    /// # Errors
    /// Names the member that is out of bounds.
    pub(crate) fn checked(self) -> Result<Self, String> {
        let share: f64 = self.faults.iter().map(|fault| fault.share).sum();
        // A hair above 1, so that ten faults of 0.1 are not refused for the way computers add.
        if share > 1.0 + 1e-9 {
            return Err(format!("the shares of `faults` add up to {share}; expected at most 1"));
        }
        if self.faults.len() > FAULTS_MAX {
            return Err(format!("`faults` has {} items; expected at most {FAULTS_MAX}", self.faults.len()));
        }
        for (name, value) in [("latency_ms", self.latency_ms), ("jitter_ms", self.jitter_ms)] {
            if value > LATENCY_MILLIS_MAX {
                return Err(format!("`{name}` is {value}; expected at most {LATENCY_MILLIS_MAX}"));
            }
        }
        Ok(self)
    }

    /// What happens to the request that is the `number`th to arrive since these faults came into force.
    pub(super) fn draw(&self, seed: u64, number: u64) -> Draw {
        let delay = self.latency_ms as f64 + self.jitter_ms as f64 * unit(seed, 2 * number);
        let mut dice = unit(seed, 2 * number + 1);
        let fault = self.faults.iter().find(|fault| {
            dice -= fault.share;
            dice < 0.0
        });
        // From microseconds, which can't overflow: `from_secs_f64` would panic on what a caller left unchecked.
        Draw { delay: Duration::from_micros((delay * 1_000.0) as u64), fault: fault.copied() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    pub(super) delay: Duration,
    pub(super) fault: Option<Fault>,
}

/// As text `<what>[-before|-after][:<share>]`, such as `503:0.1`, `close-after`,
/// `code=10094:0.05`; before and always unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Fault {
    pub what: What,
    pub when: When,
    /// From 0 to 1.
    pub share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the request is handled: it is not applied.
    Before,
    /// After: it is applied, and the answer is replaced.
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An answer of this status, 400 to 599. 429 has its `Retry-After`.
    Status(u16),
    /// An answer of this code, with the status that goes with it.
    Code(u32),
    /// The connection closes without a byte of an answer.
    Close,
    /// The connection closes in the middle of a 202.
    Cut,
    /// No answer, until the client gives up or the sandbox stops.
    Hang,
    /// A 202 whose body is no JSON.
    Garbage,
    /// A 202 with `"success": false`.
    Unsuccessful,
}

const WORDS: [(&str, What); 5] = [
    ("close", What::Close),
    ("cut", What::Cut),
    ("hang", What::Hang),
    ("garbage", What::Garbage),
    ("unsuccessful", What::Unsuccessful),
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, share) = text.split_once(':').unwrap_or((text, "1"));
        let share = match share.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => share,
            _ => return Err(format!("`{share}` in `{text}` is not a share; expected a number from 0 to 1")),
        };
        let (name, when) = match name.strip_suffix("-after") {
            Some(name) => (name, When::After),
            None => (name.strip_suffix("-before").unwrap_or(name), When::Before),
        };
        let what = if let Some((_, what)) = WORDS.into_iter().find(|(word, _)| *word == name) {
            Some(what)
        } else if let Some(code) = name.strip_prefix("code=") {
            code.parse().ok().map(What::Code)
        } else {
            name.parse().ok().filter(|status| (400..=599).contains(status)).map(What::Status)
        };
        let what = what.ok_or_else(|| {
            format!(
                "`{text}` is not a fault; expected a status (400 to 599), code=10094, close, cut, hang, garbage or \
                 unsuccessful, with -before or -after and a share behind it: close-after:0.1"
            )
        })?;
        Ok(Self { what, when, share })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.share)
    }
}

impl Fault {
    /// What and when, without the share: `close-after`.
    pub(super) fn name(&self) -> String {
        let when = match self.when {
            When::Before => "before",
            When::After => "after",
        };
        let word = |what| WORDS.iter().find(|(_, word)| *word == what).map_or("", |(word, _)| *word);
        match self.what {
            What::Status(status) => format!("{status}-{when}"),
            What::Code(code) => format!("code={code}-{when}"),
            what => format!("{}-{when}", word(what)),
        }
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

/// How the token endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum TokenFault {
    /// It answers 503.
    Unavailable,
    /// It answers 400 `invalid_grant`.
    InvalidGrant,
    /// It does not answer, until the client gives up.
    Hang,
}

/// The `index`th number that `seed` gives, from 0 up to but without 1.
fn unit(seed: u64, index: u64) -> f64 {
    Rng::with_seed(Rng::with_seed(seed).u64(..) ^ Rng::with_seed(index).u64(..)).f64()
}

/// More than there are kinds of fault; they are looked through at every request.
const FAULTS_MAX: usize = 64;
/// A minute: longer than any client waits.
const LATENCY_MILLIS_MAX: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_back_as_it_is_written() {
        for (text, written) in [
            ("503:0.1", "503-before:0.1"),
            ("close", "close-before:1"),
            ("cut-after:0.25", "cut-after:0.25"),
            ("code=10094-after:1", "code=10094-after:1"),
            ("unsuccessful-before:0", "unsuccessful-before:0"),
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), written);
            assert_eq!(written.parse(), Ok(fault));
        }
        for text in
            ["", "200", "600", "close:1.1", "close:NaN", "close:-1", "code=x", "after", "close-", "503-after-after"]
        {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_and_the_shares_hold() {
        let faults = |texts: &[&str]| Faults {
            latency_ms: 10,
            jitter_ms: 10,
            faults: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..Faults::default()
        };
        let drawn = faults(&["503:0.2", "close:0.3"]);
        let run = |seed| (0..10_000).map(|n| drawn.draw(seed, n)).collect::<Vec<_>>();
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let count = |what| run(7).iter().filter(|draw| draw.fault.is_some_and(|fault| fault.what == what)).count();
        assert!((1_900..2_100).contains(&count(What::Status(503))), "{}", count(What::Status(503)));
        assert!((2_850..3_150).contains(&count(What::Close)), "{}", count(What::Close));
        assert!(run(7).iter().all(|draw| (10..20).contains(&draw.delay.as_millis())));
        let certain = faults(&["hang"]);
        assert!((0..10_000).all(|n| certain.draw(n, n).fault.is_some()));
        assert!(faults(&["503:0.7", "504:0.7"]).checked().is_err());
        assert!(faults(&["503:0.1"; 10]).checked().is_ok());
        assert!(faults(&["503:0"; FAULTS_MAX + 1]).checked().is_err());
    }
}
