//! A made-up typist, for tests, benchmarks and the trace that comes with the project. It stands for no real person.
//!
//! Gaps within a message are a mixture of three log-normals, fitted to real typing: fluent keys, slower ones, and pauses.
//! Each user has a speed and a share of pauses of their own. In reality pauses come in clusters, and here they don't.

use std::fmt::Write as _;

/// The times of one user's keystrokes and sends.
#[derive(Clone, Debug)]
pub(crate) struct Typist {
    dice: fastrand::Rng,
    /// Shifts the logarithm of the two short kinds of gap.
    speed: f64,
    /// Weighs the long kind.
    pauses: f64,
}

impl Typist {
    /// The typist that `seed` makes.
    pub(crate) fn new(seed: u64) -> Self {
        let mut typist = Self { dice: fastrand::Rng::with_seed(seed), speed: 0.0, pauses: 1.0 };
        typist.speed = typist.normal(0.0, USER_SPEED_SIGMA);
        // The mean of exp(N(0, s)) is exp(s² / 2).
        typist.pauses = (typist.normal(0.0, USER_PAUSES_SIGMA) - USER_PAUSES_SIGMA.powi(2) / 2.0).exp();
        typist
    }

    /// A number of the normal distribution (Box and Muller).
    fn normal(&mut self, mean: f64, sigma: f64) -> f64 {
        let (a, b) = (1.0 - self.dice.f64(), self.dice.f64());
        mean + sigma * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// How many keys the next message has.
    pub(crate) fn keys(&mut self) -> u64 {
        self.normal(KEYS_LOG_MEAN, KEYS_LOG_SIGMA).exp().clamp(3.0, KEYS_MAX) as u64
    }

    /// The time to the next key of the same message, in milliseconds.
    pub(crate) fn gap(&mut self) -> u64 {
        let long = 0.027 * self.pauses;
        let pick = self.dice.f64() * (0.519 + 0.454 + long);
        let log = if pick < 0.519 {
            self.normal(190f64.ln() + self.speed, 0.99)
        } else if pick < 0.519 + 0.454 {
            self.normal(158f64.ln() + self.speed, 0.33)
        } else {
            self.normal(2_409f64.ln(), 1.06)
        };
        log.exp().clamp(1.0, GAP_MILLIS_MAX) as u64
    }

    /// The time from a send to the next message's first key, in milliseconds: the other side answers meanwhile.
    pub(crate) fn rest(&mut self) -> u64 {
        self.normal(REST_LOG_MEAN, 1.0).exp().clamp(500.0, 600_000.0) as u64
    }

    /// Whether the next message is given up rather than sent.
    pub(crate) fn gives_up(&mut self) -> bool {
        self.dice.f64() < ABANDONED
    }
}

/// Typing of `users` people with `messages` messages each, as a trace.
pub fn trace(users: usize, messages: usize, seed: u64) -> String {
    let mut lines: Vec<(u64, usize, &'static str)> = Vec::new();
    for user in 0..users {
        let mut typist = Typist::new(seed.wrapping_mul(1_000_003).wrapping_add(user as u64));
        let mut at = typist.dice.u64(..60_000);
        for _ in 0..messages {
            for key in 0..typist.keys() {
                at += if key == 0 { 0 } else { typist.gap() };
                lines.push((at, user, "keystroke"));
            }
            if typist.gives_up() {
                at += AWAY_MILLIS;
            } else {
                at += SEND_MILLIS;
                lines.push((at, user, "message_sent"));
            }
            at += typist.rest();
        }
    }
    lines.sort();
    let origin = lines.first().map_or(0, |(at, ..)| *at);
    lines.iter().fold(String::new(), |mut text, (at, user, signal)| {
        let at = at - origin;
        let _ = writeln!(text, r#"{{"to":"demo","from":"typist-{user:03}","signal":"{signal}","at":{at}}}"#);
        text
    })
}

/// How much users differ in the logarithm of their speed, and in that of their share of pauses.
const USER_SPEED_SIGMA: f64 = 0.21;
const USER_PAUSES_SIGMA: f64 = 0.55;
/// The keys of a message in a chat: 30 is the median.
const KEYS_LOG_MEAN: f64 = 3.4;
const KEYS_LOG_SIGMA: f64 = 0.9;
const KEYS_MAX: f64 = 600.0;
/// The longest pause within a message: a longer one would count as having gone away.
const GAP_MILLIS_MAX: f64 = 29_000.0;
/// From a message's last key to its send.
const SEND_MILLIS: u64 = 300;
/// From a message's send to the next one: 2.7 s is the median.
const REST_LOG_MEAN: f64 = 7.9;
/// The share of messages that are given up, and how long their users are away.
const ABANDONED: f64 = 0.13;
const AWAY_MILLIS: u64 = 35_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace that comes with the project: `cargo test --lib the_shipped_trace -- --ignored` writes it anew.
    #[test]
    #[ignore = "writes a file of the project"]
    fn the_shipped_trace() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/typists.ndjson");
        std::fs::write(path, trace(12, 8, 42)).unwrap();
    }

    #[test]
    fn a_seed_is_a_trace_in_order_of_time() {
        let text = trace(5, 4, 7);
        assert_eq!(text, trace(5, 4, 7));
        assert_ne!(text, trace(5, 4, 8));
        let read = crate::signals::trace::TraceReader::new("t", std::io::Cursor::new(text));
        let read: Result<Vec<_>, _> = read.collect();
        assert!(read.unwrap().len() > 200);
    }
}
