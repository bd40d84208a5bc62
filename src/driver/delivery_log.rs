//! What the log reports of deliveries: transitions, each once, never more than a few lines a minute whatever happens.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::base::pseudonym::Pseudonyms;
use crate::engine::{Counts, Notice};
use crate::model::{
    Cause, ChannelAddress, ConversationRef, Dispatch, Instant, Outcome, Rejection, Transient, WireResult,
};
use crate::observe::loop_event::LoopEvent;

/// So many failures without a success between them are logged, and make the daemon not ready.
const FAILURES_MAX: u32 = 5;
/// Lines of one kind, over all channels and conversations, are at least this far apart after the first few.
const LINE_SPACING: Duration = Duration::from_secs(60);
/// Muted conversations named within [`LINE_SPACING`]; further ones are counted.
const MUTES_LOGGED_MAX: u32 = 10;

/// Turns what happens to deliveries into log lines.
#[derive(Debug, Default)]
pub struct DeliveryLog {
    pseudonyms: Pseudonyms,
    failures: u32,
    /// Why deliveries fail at the moment.
    failing: Option<String>,
    /// That they fail has been logged: the end of that will be, too.
    failing_logged: bool,
    failures_log: Throttle,
    /// Channels that the configuration names, or for which Salesforce has taken something: they are none of an end user's
    /// numbers.
    known: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// Given-up stops that the log has mentioned.
    given_up_logged: u64,
    mutes: Throttle,
    /// Channels in a row that Salesforce does not know, while it took nothing of any other.
    unknown_channels: u32,
    swapped: Throttle,
    malformed: Throttle,
    given_up: Throttle,
    rate_cut: Throttle,
    blocked: Throttle,
    /// That Stoppeds wait for credentials has been logged: the end of that will be, too.
    blocked_logged: bool,
}

impl DeliveryLog {
    /// `channels` are those that the configuration names.
    pub(crate) fn new<'a>(pseudonyms: Pseudonyms, channels: impl IntoIterator<Item = &'a ChannelAddress>) -> Self {
        let known = channels.into_iter().take(KNOWN_CHANNELS_MAX).map(|channel| channel.as_str().into()).collect();
        Self { pseudonyms, known, ..Self::default() }
    }

    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, event: &LoopEvent<'_>) {
        if let LoopEvent::Answered { dispatch, result, notice, rate, .. } = event {
            self.on_outcome(now, dispatch, result);
            self.on_notice(now, dispatch, result, *notice, *rate);
        }
    }

    fn on_outcome(&mut self, now: Instant, dispatch: &Dispatch, result: &WireResult) {
        let conversation = dispatch.conversation.as_ref();
        let (status, code) = (result.status, result.code);
        let detail = result.detail.as_deref().unwrap_or_default();
        if result.outcome == Outcome::Delivered
            && self.known.len() < KNOWN_CHANNELS_MAX
            && !self.known.contains(conversation.to())
        {
            self.known.insert(conversation.to().into());
        }
        debug!(
            channel = self.channel(conversation),
            end_user = self.pseudonyms.log_name(conversation.from()),
            indicator = dispatch.indicator().name(),
            reason = dispatch.reason.name(),
            attempt = dispatch.attempt,
            outcome = ?result.outcome,
            status,
            code,
            detail = result.detail,
            elapsed = ?result.elapsed,
            "request"
        );
        match result.outcome {
            Outcome::Delivered => {
                self.failures = 0;
                self.unknown_channels = 0;
                self.failing = None;
                if std::mem::take(&mut self.failing_logged) {
                    info!("indicators are delivered again");
                }
            }
            // They say something about one channel or one user, and nothing about the others.
            Outcome::Rejected(Rejection::Channel | Rejection::Conversation) => {}
            outcome => {
                // A token that has run out is renewed, and that is no failure. Nor are credentials of a connector, or a
                // connection at its end. A configuration does not mend itself.
                self.failures = match outcome {
                    Outcome::NotSent(Transient {
                        cause: Cause::Token | Cause::Credentials | Cause::NoCredentials | Cause::Unprocessed,
                        ..
                    }) => self.failures,
                    Outcome::Rejected(Rejection::Configuration) => self.failures.saturating_add(FAILURES_MAX),
                    _ => self.failures.saturating_add(1),
                };
                if self.failures >= FAILURES_MAX && self.failing.is_none() {
                    self.failing = Some(describe(result));
                    if let Some(more) = self.failures_log.pass(now, 1) {
                        warn!(status, code, detail, more, "no indicator is delivered");
                        self.failing_logged = true;
                    }
                }
                if outcome == Outcome::Rejected(Rejection::Request)
                    && let Some(more) = self.malformed.pass(now, 1)
                {
                    error!(status, code, detail, more, "Salesforce calls a request malformed: a defect of typingd");
                }
            }
        }
    }

    fn on_notice(&mut self, now: Instant, dispatch: &Dispatch, result: &WireResult, notice: Option<Notice>, rate: u32) {
        let (conversation, status, code) = (dispatch.conversation.as_ref(), result.status, result.code);
        let detail = result.detail.as_deref().unwrap_or_default();
        match notice {
            None => {}
            Some(Notice::ChannelMuted) if code == Some(UNKNOWN_CHANNEL) => {
                self.unknown_channels = self.unknown_channels.saturating_add(1);
                if self.unknown_channels < UNKNOWN_CHANNELS_MAX {
                    let channel = self.channel(conversation);
                    warn!(
                        channel,
                        status,
                        code,
                        detail,
                        "channel muted: Salesforce does not know it; typingd tap and GET /v1/conversations name it in full"
                    );
                } else if let Some(more) = self.swapped.pass(now, 1) {
                    warn!(
                        channels = self.unknown_channels,
                        more,
                        "one channel after the other is muted, for Salesforce knows none of them: are `to` and `from` \
                         swapped? `to` is the channel's address, `from` the end user's id"
                    );
                }
            }
            Some(Notice::ChannelMuted) => {
                let channel = self.channel(conversation);
                warn!(channel, status, code, detail, "channel muted: Salesforce refuses it for good");
            }
            Some(Notice::ConversationMuted) => {
                if let Some(more) = self.mutes.pass(now, MUTES_LOGGED_MAX) {
                    let end_user = self.pseudonyms.log_name(conversation.from());
                    let channel = self.channel(conversation);
                    warn!(channel, %end_user, status, code, detail, more, "conversation muted: Salesforce refuses its end user");
                }
            }
            Some(Notice::UpstreamFailing) => warn!(status, code, detail, "the upstream fails: only probes are sent"),
            Some(Notice::UpstreamBack) => info!("the upstream answers again"),
            Some(Notice::RateCut) => {
                if let Some(more) = self.rate_cut.pass(now, 1) {
                    let pause = match result.outcome {
                        Outcome::NotSent(setback) => setback.retry_after,
                        _ => None,
                    };
                    warn!(
                        status,
                        code,
                        ?pause,
                        rate,
                        more,
                        "Salesforce's rate limit is exceeded: slowing down for a while"
                    );
                }
            }
        }
    }

    /// The channel's address; its keyed hash while the configuration does not name it and Salesforce has taken nothing for
    /// it: where `to` and `from` are swapped it is an end user's id.
    fn channel(&self, conversation: ConversationRef<'_>) -> String {
        let to = conversation.to();
        if self.known.contains(to) { to.to_owned() } else { self.pseudonyms.channel_log_name(to) }
    }

    /// The loop has come round; so many owed Stoppeds wait for credentials.
    pub(super) fn on_turn(&mut self, now: Instant, counts: &Counts, blocked: usize) {
        let given_up = counts.stops_given_up - self.given_up_logged;
        if given_up > 0
            && let Some(more) = self.given_up.pass(now, 1)
        {
            warn!(icons = given_up, more, "owed stops were rejected or never acknowledged: their icons may be left on");
            self.given_up_logged = counts.stops_given_up;
        }
        if blocked == 0 {
            if std::mem::take(&mut self.blocked_logged) {
                info!("no owed TypingStopped waits for credentials any more");
            }
        } else if !self.blocked_logged
            && let Some(more) = self.blocked.pass(now, 1)
        {
            warn!(stops = blocked, more, "owed TypingStopped wait for credentials: {NO_CREDENTIALS}");
            self.blocked_logged = true;
        }
    }

    /// Why no indicator is delivered at the moment; `blocked` owed Stoppeds wait for credentials.
    pub(super) fn not_ready(&self, blocked: usize) -> Option<String> {
        let waits = || format!("{blocked} owed TypingStopped wait for credentials: {NO_CREDENTIALS}");
        self.failing.clone().or_else(|| (blocked > 0).then(waits))
    }
}

/// Salesforce's code for a channel address that it does not know.
const UNKNOWN_CHANNEL: i64 = 10_017;
/// From so many unknown channels in a row on, the log asks whether they are channels at all.
const UNKNOWN_CHANNELS_MAX: u32 = 3;
/// As many messaging channels as an org may have.
const KNOWN_CHANNELS_MAX: usize = 2_000;

const NO_CREDENTIALS: &str = "no connector has shown any that Salesforce accepts";

/// One sentence for a person who asks why the daemon is not ready.
fn describe(result: &WireResult) -> String {
    let detail = result.detail.as_deref().unwrap_or_default();
    let code = result.code.map(|code| format!(", code {code}")).unwrap_or_default();
    match result.status {
        Some(status) => format!("Salesforce answers with status {status}{code}: {detail}"),
        None => format!("nothing is delivered: {detail}"),
    }
}

/// Lets a few lines through in each [`LINE_SPACING`], and counts the others.
#[derive(Debug, Default)]
struct Throttle {
    until: Instant,
    passed: u32,
    held: u64,
}

impl Throttle {
    /// Whether a line may be written now; with it, how many could not since the last.
    fn pass(&mut self, now: Instant, lines: u32) -> Option<u64> {
        if now >= self.until {
            self.until = now + LINE_SPACING;
            self.passed = 0;
        }
        if self.passed < lines {
            self.passed += 1;
            return Some(std::mem::take(&mut self.held));
        }
        self.held += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DispatchId, Reason};

    #[test]
    fn a_channel_is_named_once_it_is_known_to_be_one() {
        let mut log = DeliveryLog::default();
        let dispatch = |to: &str| Dispatch {
            id: DispatchId { slot: 0, serial: 0 },
            conversation: ConversationRef::new(to, "u").unwrap().to_owned(),
            reason: Reason::Check,
            decided: Instant::ORIGIN,
            decision: 0,
            attempt: 0,
            credentials: None,
        };
        let result = |outcome| WireResult { outcome, status: None, code: None, detail: None, elapsed: Duration::ZERO };
        let [known, number] = ["WhatsApp-4711", "+15550123456"].map(dispatch);
        log.on_outcome(Instant::ORIGIN, &known, &result(Outcome::Delivered));
        log.on_outcome(Instant::ORIGIN, &number, &result(Outcome::Rejected(Rejection::Channel)));
        assert_eq!(log.channel(known.conversation.as_ref()), "WhatsApp-4711");
        let hidden = log.channel(number.conversation.as_ref());
        assert!(hidden.len() == 9 && hidden.starts_with('#'), "{hidden}");
        let configured = ChannelAddress::new("+15550123456").unwrap();
        let names = DeliveryLog::new(Pseudonyms::default(), [&configured]);
        assert_eq!(names.channel(number.conversation.as_ref()), "+15550123456");
        for n in 0..2 * KNOWN_CHANNELS_MAX {
            log.on_outcome(Instant::ORIGIN, &dispatch(&n.to_string()), &result(Outcome::Delivered));
        }
        assert_eq!(log.known.len(), KNOWN_CHANNELS_MAX);
    }

    #[test]
    fn a_throttle_lets_a_few_through_and_counts_the_rest() {
        let mut throttle = Throttle::default();
        let at = Instant::from_millis;
        let passed: Vec<_> = (0..5).map(|i| throttle.pass(at(i), 2)).collect();
        assert_eq!(passed, [Some(0), Some(0), None, None, None]);
        assert_eq!(throttle.pass(at(60_001), 2), Some(3));
    }
}
