//! What operators hear of deliveries: transitions, each once, never more than a few lines a minute whatever happens.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::engine::{Counts, Notice};
use crate::model::{Cause, Dispatch, Instant, Outcome, Rejection, Transient, WireResult};
use crate::telemetry::Pseudonyms;

/// So many failures without a success between them are told, and make the daemon not ready.
const FAILURES_TOLD: u32 = 5;
/// Lines of one kind, over all channels and conversations, come no closer than this after the first few.
const LINE_SPACING: Duration = Duration::from_secs(60);
/// Muted conversations told by name within [`LINE_SPACING`]; further ones are counted.
const MUTES_TOLD: u32 = 10;

/// Turns what happens to deliveries into log lines.
#[derive(Debug, Default)]
pub struct Herald {
    pseudonyms: Pseudonyms,
    failures: u32,
    trouble: Option<String>,
    /// The present trouble has been told: its end will be, too.
    trouble_told: bool,
    troubles: Throttle,
    told: Counts,
    mutes: Throttle,
    malformed: Throttle,
    given_up: Throttle,
    rate_cut: Throttle,
    blocked: Throttle,
    /// That Stoppeds wait for credentials has been logged: the end of that will be, too.
    blocked_logged: bool,
}

impl Herald {
    /// One who calls end users by these names.
    #[must_use]
    pub fn naming(pseudonyms: Pseudonyms) -> Self {
        Self { pseudonyms, ..Self::default() }
    }

    /// Why deliveries fail at the moment; `None` while they don't.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// A request has come to its end.
    pub fn hear(&mut self, now: Instant, dispatch: &Dispatch, result: &WireResult, notice: Option<Notice>, rate: u32) {
        let conversation = dispatch.conversation.as_ref();
        let (status, code) = (result.status, result.code);
        let detail = result.detail.as_deref().unwrap_or_default();
        match result.outcome {
            Outcome::Delivered => {
                self.failures = 0;
                self.trouble = None;
                if std::mem::take(&mut self.trouble_told) {
                    info!("indicators are delivered again");
                }
            }
            // They say something about one channel or one user, and nothing about the others.
            Outcome::Rejected(Rejection::Channel | Rejection::Conversation) => {}
            outcome => {
                debug!(
                    channel = conversation.to(),
                    end_user = %self.pseudonyms.of(conversation.from()),
                    indicator = dispatch.indicator().name(),
                    reason = dispatch.reason.name(),
                    attempt = dispatch.attempt,
                    ?outcome,
                    status,
                    code,
                    detail,
                    "not delivered"
                );
                // A token that has run out is renewed, and that is no failure. Nor are credentials of a connector. A configuration does not mend itself.
                self.failures = match outcome {
                    Outcome::NotSent(Transient {
                        cause: Cause::Token | Cause::Credentials | Cause::NoCredentials,
                        ..
                    }) => self.failures,
                    Outcome::Rejected(Rejection::Configuration) => self.failures.saturating_add(FAILURES_TOLD),
                    _ => self.failures.saturating_add(1),
                };
                if self.failures >= FAILURES_TOLD && self.trouble.is_none() {
                    self.trouble = Some(describe(result));
                    if let Some(more) = self.troubles.pass(now, 1) {
                        warn!(status, code, detail, more, "no indicator is delivered");
                        self.trouble_told = true;
                    }
                }
                if outcome == Outcome::Rejected(Rejection::Request)
                    && let Some(more) = self.malformed.pass(now, 1)
                {
                    error!(status, code, detail, more, "Salesforce calls a request malformed: a defect of typingd");
                }
            }
        }
        match notice {
            None => {}
            Some(Notice::ChannelMuted) => {
                warn!(
                    channel = conversation.to(),
                    status, code, detail, "channel muted: Salesforce refuses it for good"
                );
            }
            Some(Notice::ConversationMuted) => {
                if let Some(more) = self.mutes.pass(now, MUTES_TOLD) {
                    let end_user = self.pseudonyms.of(conversation.from());
                    let channel = conversation.to();
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

    /// So many owed Stoppeds wait for credentials.
    pub fn note_blocked(&mut self, now: Instant, stops: usize) {
        if stops == 0 {
            if std::mem::take(&mut self.blocked_logged) {
                info!("no owed TypingStopped waits for credentials any more");
            }
        } else if !self.blocked_logged
            && let Some(more) = self.blocked.pass(now, 1)
        {
            warn!(
                stops,
                more, "owed TypingStopped wait for credentials: no connector has shown any that Salesforce accepts"
            );
            self.blocked_logged = true;
        }
    }

    /// The counts have moved on.
    pub fn count(&mut self, now: Instant, counts: &Counts) {
        let given_up = counts.stops_given_up - self.told.stops_given_up;
        if given_up > 0
            && let Some(more) = self.given_up.pass(now, 1)
        {
            warn!(icons = given_up, more, "owed stops were refused or never acknowledged: their icons may be left on");
            self.told = *counts;
        }
    }
}

/// One sentence for a person who asks why the daemon is not ready.
fn describe(result: &WireResult) -> String {
    let detail = result.detail.as_deref().unwrap_or_default();
    let code = result.code.map(|code| format!(", code {code}")).unwrap_or_default();
    match result.status {
        Some(status) => format!("Salesforce answers with status {status}{code}: {detail}"),
        None => format!("Salesforce does not answer: {detail}"),
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

    #[test]
    fn a_throttle_lets_a_few_through_and_counts_the_rest() {
        let mut throttle = Throttle::default();
        let at = Instant::from_millis;
        let told: Vec<_> = (0..5).map(|i| throttle.pass(at(i), 2)).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!(throttle.pass(at(60_001), 2), Some(3));
    }
}
