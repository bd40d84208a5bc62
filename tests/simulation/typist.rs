//! People who type as people do: log-normal mixtures fitted to real typing, clustered by nothing but chance.

use crate::rng::Rng;

/// How one person types. Times in milliseconds.
pub(crate) struct Typist {
    /// Shifts the log of the two short kinds of gap.
    speed: f64,
    /// Weighs the long kind.
    pauses: f64,
}

impl Typist {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        // exp(N(0, 0.55)) has the mean exp(0.15).
        Self { speed: rng.normal(0.0, 0.21), pauses: rng.normal(0.0, 0.55).exp() / 0.151_25_f64.exp() }
    }

    /// Keys of the next message.
    pub(crate) fn keys(&self, rng: &mut Rng) -> u64 {
        rng.normal(3.4, 0.9).exp().clamp(3.0, 400.0) as u64
    }

    /// The time to the next key of the same message.
    pub(crate) fn gap(&self, rng: &mut Rng) -> u64 {
        let long = 0.027 * self.pauses;
        let pick = rng.unit() * (0.519 + 0.454 + long);
        let log = if pick < 0.519 {
            rng.normal(190f64.ln() + self.speed, 0.99)
        } else if pick < 0.519 + 0.454 {
            rng.normal(158f64.ln() + self.speed, 0.33)
        } else {
            rng.normal(2_409f64.ln(), 1.06)
        };
        log.exp().clamp(1.0, 29_000.0) as u64
    }
}
