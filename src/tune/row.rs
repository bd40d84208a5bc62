//! One setting, measured.

use std::time::Duration;

use super::confidence::{Interval, Ratio, Tally, chance};
use super::measure::Measure;
use super::plan::{Setting, Side, Want};
use super::sums::{Delay, Delays, quantile, ratio};

/// A measure with its confidence; `None` where it is undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The measure.
    pub value: Option<f64>,
    /// The 95 % interval over users; none of fewer than five.
    pub ci: Option<Interval>,
    /// What it rests on, where it is a ratio of sums.
    pub(super) ratio: Option<Ratio>,
}

impl Estimate {
    /// A value that is known for sure, or whose interval is not.
    pub(super) fn sure(value: Option<f64>) -> Self {
        Self { value, ..Self::default() }
    }

    /// The chance that `want` is kept with other users; none where the value or its interval is unknown.
    pub(super) fn chance(&self, want: &Want) -> Option<f64> {
        let (value, [low, high]) = (self.value?, self.ci?);
        // Of a quantile the interval alone is known.
        let quantile = ((high - low) / 2.0 / NORMAL_975, usize::MAX);
        let (error, users) = self.ratio.map_or(quantile, |ratio| (ratio.error, ratio.users));
        let margin = if want.side == Side::AtLeast { value - want.bound } else { want.bound - value };
        Some(if error == 0.0 { f64::from(u8::from(want.miss(value) == 0.0)) } else { chance(margin, error, users) })
    }
}

impl Estimate {
    /// How many users it takes for `want` to be kept for sure, if its value keeps it and only its interval does not.
    pub(super) fn users_for(&self, want: &Want) -> Option<u64> {
        let (value, [low, high]) = (self.value?, self.ci?);
        let (margin, half) = match want.side {
            Side::AtLeast => (value - want.bound, value - low),
            Side::AtMost => (want.bound - value, high - value),
        };
        let users = self.ratio?.users as f64 * (half / margin).powi(2);
        (margin > 0.0 && half > margin && users < 1e6).then(|| users.ceil() as u64)
    }
}

/// The 97.5th percentile of the normal distribution.
const NORMAL_975: f64 = 1.959_964;

/// Delays as quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// How many there are.
    pub n: usize,
    /// The median.
    pub p50: Option<u64>,
    /// The 95th percentile.
    pub p95: Option<u64>,
    /// The longest.
    pub max: Option<u64>,
    /// The confidence of the median.
    pub p50_ci: Option<Interval>,
    /// The confidence of the 95th percentile.
    pub p95_ci: Option<Interval>,
}

impl Quantiles {
    /// Of `delays` of up to `users` users, none of which a setting lets exceed `longest`.
    pub(super) fn of(delays: &mut Delays, tally: &mut Tally, users: usize, longest: u64) -> Self {
        delays.sort_unstable();
        let at = |q| quantile(delays, q).map(Delay::millis);
        let [p50_ci, p95_ci] = [0.5, 0.95].map(|q| tally.interval(delays, q, users, longest));
        Self { n: delays.len(), p50: at(0.5), p95: at(0.95), max: at(1.0), p50_ci, p95_ci }
    }
}

/// A measure over the users: what a tenth of them is below, the median, and what a tenth is above.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The tenth percentile.
    pub p10: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// The ninetieth percentile.
    pub p90: Option<f64>,
    /// How many users are below the limit that was set to it, of how many.
    pub below: Option<(usize, usize)>,
}

/// One setting, measured. The formulas are in the README.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The setting.
    pub setting: Setting,
    /// TypingStarted sent.
    pub started: u64,
    /// TypingStopped sent.
    pub stopped: u64,
    /// Requests for each minute of composing.
    pub req_per_min: Estimate,
    /// TypingStarted alone, for each minute of composing.
    pub started_per_min: Option<f64>,
    /// Requests for each message.
    pub req_per_msg: Estimate,
    /// The share of composing time with the icon on.
    pub recall: Estimate,
    /// The recall of single users.
    pub users: Spread,
    /// The share of the icon's time in which the user was not composing.
    pub false_on: Estimate,
    /// Seconds of that for each abandoned draft.
    pub false_on_per_abandoned: Estimate,
    /// Times that the icon went off and on again within one message, for each message.
    pub flicker_per_msg: Estimate,
    /// The same for each minute of composing.
    pub flicker_per_min: Estimate,
    /// The share of sent messages that came while the icon was off.
    pub off_early: Estimate,
    /// From an abandoned draft's last key to the icon's end.
    pub off: Quantiles,
    /// From a message's first key to the icon.
    pub on: Quantiles,
    /// How long an agent who begins to look waits for something new, in milliseconds.
    pub late_wait: Estimate,
    /// The same, the 99th percentile.
    pub late_wait_p99: Option<u64>,
    /// The share of a timer's stops that a key followed within `away`, before anything else happened.
    pub wrong_stop: Estimate,
    /// How many people may compose at a time.
    pub safe_composers: Option<u64>,
    /// How many conversations that are, if composing takes the share of them that it took here.
    pub safe_conversations: Option<u64>,
    /// What the agent would see if the receiver dropped icons by itself, where it is not known whether it does: of this
    /// only what can be seen is counted.
    pub dropped: Option<Box<Row>>,
    /// What it misses and falsely shows with each receiver that is possible, in the order of [`IconTtl::cases`].
    ///
    /// [`IconTtl::cases`]: super::plan::IconTtl::cases
    pub sights: Vec<Sight>,
    /// No other row is better in requests, recall or off-latency without being worse in another of them.
    pub pareto: bool,
    /// It keeps every limit.
    pub meets: bool,
    /// The chance that it keeps them with other users of the same kind: of the limits, the least.
    pub chance: Option<f64>,
}

/// What a setting gives with one receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// After how long the receiver drops an icon by itself, in milliseconds.
    pub icon_ttl: Option<u64>,
    /// Seconds missed, and seconds falsely shown by their weight, for each minute of composing.
    pub cost: Option<f64>,
    /// The share of composing time with the icon on.
    pub recall: Option<f64>,
}

impl Row {
    /// What it costs with the receiver that is the worst for it.
    pub fn worst(&self) -> Option<Sight> {
        self.sights.iter().copied().max_by(|a, b| a.cost.unwrap_or_default().total_cmp(&b.cost.unwrap_or_default()))
    }

    /// The value of `measure`, none where it is undefined, and its confidence. Times in milliseconds.
    pub fn estimate(&self, measure: Measure) -> Estimate {
        let sure = Estimate::sure;
        let millis = |value: Option<u64>, ci| Estimate { ci, ..sure(value.map(|millis| millis as f64)) };
        match measure {
            Measure::Cost => sure(self.worst().and_then(|worst| worst.cost)),
            Measure::Recall => self.recall,
            Measure::Missed => Estimate {
                value: self.recall.value.map(|recall| 1.0 - recall),
                ci: self.recall.ci.map(|[low, high]| [1.0 - high, 1.0 - low]),
                ratio: self.recall.ratio.map(Ratio::complement),
            },
            Measure::FalseOn => self.false_on,
            Measure::Flicker => self.flicker_per_msg,
            Measure::FlickerPerMinute => self.flicker_per_min,
            Measure::OffEarly => self.off_early,
            Measure::OffP50 => millis(self.off.p50, self.off.p50_ci),
            Measure::OffP95 => millis(self.off.p95, self.off.p95_ci),
            Measure::OffMax => millis(self.off.max, None),
            Measure::Requests => self.req_per_min,
            Measure::RequestsPerMessage => self.req_per_msg,
            Measure::WrongStop => self.wrong_stop,
            Measure::LateWait => self.late_wait,
            Measure::LateWaitP99 => millis(self.late_wait_p99, None),
            Measure::Composers => sure(self.safe_composers.map(|people| people as f64)),
            Measure::Check => sure(Some(self.setting.check as f64)),
            Measure::Dismiss => sure(Some(self.setting.dismiss as f64)),
        }
    }

    /// The value of `measure` alone.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.estimate(measure).value
    }
}

/// Milliseconds as minutes.
pub(super) fn minutes(millis: f64) -> f64 {
    millis / Duration::from_secs(60).as_millis() as f64
}

/// How many people may compose at a time so that their requests, which come as they please, exceed `limit` a second in
/// one second of a thousand: a Poisson variable with the mean m stays below m + 3.09 √m in 99.9 % of cases.
pub(super) fn headroom(limit: f64, req_per_min: Option<f64>) -> Option<f64> {
    let safe = (limit - 3.09 * limit.sqrt()).max(0.0) * 60.0;
    req_per_min.and_then(|requests| ratio(safe, requests)).map(f64::floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headroom_is_that_of_the_formula() {
        assert_eq!(headroom(2_000.0, Some(24.5)), Some(4_559.0));
        assert_eq!(headroom(2_000.0, Some(0.0)), None);
        assert_eq!(headroom(2_000.0, None), None);
        assert_eq!(headroom(1.0, Some(5.0)), Some(0.0));
    }
}
