//! What is known of the token: the whole machine, given the time.

use std::time::Duration;

use reqwest::header::HeaderValue;
use uuid::Uuid;

use crate::model::Instant;

/// Whether requests can be authorized at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The first token is on its way, or one in place of an expired one.
    Pending,
    /// A token is in hand.
    Held,
    /// There is none, for this reason; it is tried again.
    Failing(String),
}

/// How the token fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFigures {
    /// Whether there is one.
    pub state: TokenState,
    /// Tokens obtained since the start, each counted once however often its source gave it out.
    pub obtained: u64,
    /// Fetches that brought none.
    pub failures: u64,
    /// Tokens that the upstream did not accept.
    pub refusals: u64,
    /// How long ago the one in hand was obtained.
    pub age: Option<Duration>,
    /// How long the one in hand is good for; `None` if that is not known.
    pub expires_in: Option<Duration>,
}

/// A token to authorize one request with. `Debug` shows no secret: the header's value is marked as one.
#[derive(Clone, Debug)]
pub(in crate::salesforce) struct Token {
    /// `Bearer …`, marked as sensitive, so that HTTP/2 doesn't index it and nothing prints it.
    pub(in crate::salesforce) bearer: HeaderValue,
    pub(super) generation: u64,
}

/// There is no token now, and none is on its way.
#[derive(Debug)]
pub(in crate::salesforce) struct Denied {
    pub(in crate::salesforce) retry_after: Duration,
    pub(in crate::salesforce) why: Option<String>,
}

/// What is known of the token, stepped by what happens.
#[derive(Default)]
pub(super) struct State {
    /// Whether the source is a file, which is read every second whatever happened.
    polls: bool,
    held: Option<Held>,
    refused: Option<Refused>,
    /// Counts tokens, so that a late refusal of an old one does not cost a fresh one.
    generation: u64,
    pub(super) fetching: bool,
    not_before: Instant,
    /// Fetches failed since one succeeded.
    failures: u32,
    /// Tokens refused since one was taken.
    refusals: u32,
    /// The same two since the start.
    failures_total: u64,
    refusals_total: u64,
    /// Why there is no token, unless one is simply on its way.
    trouble: Option<String>,
    /// The trouble has been logged, and its end is to be.
    warned: bool,
}

struct Held {
    token: Token,
    obtained: Instant,
    refresh_at: Instant,
    /// From here on a fresh one is waited for, if one is on its way.
    stale_at: Instant,
    expires: Instant,
    /// The upstream accepted it at least once.
    proven: bool,
}

/// A token that was refused. The source's returning it again is no recovery.
struct Refused {
    bearer: HeaderValue,
    /// When the same one is tried again all the same.
    until: Instant,
}

pub(super) enum Ask {
    Have(Token),
    Wait,
    Denied(Denied),
}

impl State {
    pub(super) fn new(polls: bool) -> Self {
        Self { polls, ..Self::default() }
    }

    /// Starts again with another source. What has been counted stays.
    pub(super) fn restart(&mut self, polls: bool) {
        *self = Self {
            polls,
            generation: self.generation,
            failures_total: self.failures_total,
            refusals_total: self.refusals_total,
            warned: self.warned,
            ..Self::default()
        };
    }

    /// Whether `bearer` is the token in hand.
    pub(super) fn holds(&self, bearer: &HeaderValue) -> bool {
        self.held.as_ref().is_some_and(|held| held.token.bearer == *bearer)
    }

    /// When the next fetch is to begin; never while one is under way.
    pub(super) fn due(&self) -> Instant {
        if self.fetching {
            return Instant::NEVER;
        }
        self.held.as_ref().map_or(self.not_before, |held| held.refresh_at.max(self.not_before))
    }

    /// To be called after `tend`: then nothing is due, so that without a fetch under way `not_before` is ahead.
    pub(super) fn ask(&self, now: Instant) -> Ask {
        match &self.held {
            Some(held) if now < held.stale_at || (now < held.expires && !self.fetching) => {
                Ask::Have(held.token.clone())
            }
            _ if self.fetching => Ask::Wait,
            _ => Ask::Denied(Denied { retry_after: self.not_before.since(now), why: self.trouble.clone() }),
        }
    }

    pub(super) fn fetched(&mut self, now: Instant, result: Result<Fetched, Failure>) {
        self.fetching = false;
        let Fetched { bearer, refresh_after, life } = match result {
            Ok(fetched) => fetched,
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.failures_total += 1;
                let wait = backoff(self.failures).max(failure.retry_after.unwrap_or_default());
                self.not_before = now + if self.polls { POLL_INTERVAL } else { wait };
                return self.fail(failure.text);
            }
        };
        self.failures = 0;
        self.not_before = now + FETCH_INTERVAL_MIN;
        let same = self.holds(&bearer);
        let refused = self.refused.as_ref().filter(|refused| refused.bearer == bearer && now < refused.until);
        if let Some(refused) = refused.filter(|_| !same) {
            self.not_before = if self.polls { self.not_before } else { refused.until.max(self.not_before) };
            return self.fail("the token was refused, and its source still has no other".into());
        }
        let held = self.held.take().filter(|_| same);
        if held.is_none() {
            self.generation += 1;
        }
        self.trouble = None;
        if self.generation == 1 && held.is_none() {
            tracing::info!("token obtained");
        } else if self.refusals == 0 {
            self.recover();
        }
        let margin = |life: Duration| life.saturating_sub((life / 10).min(MARGIN_MAX));
        self.held = Some(Held {
            token: Token { bearer, generation: self.generation },
            obtained: held.as_ref().map_or(now, |held| held.obtained),
            refresh_at: refresh_after.map_or(Instant::NEVER, |span| now + span),
            stale_at: life.map_or(Instant::NEVER, |life| now + margin(life)),
            expires: life.map_or(Instant::NEVER, |life| now + life),
            proven: held.is_some_and(|held| held.proven),
        });
    }

    pub(super) fn accepted(&mut self, generation: u64) {
        if let Some(held) = self.held.as_mut().filter(|held| held.token.generation == generation && !held.proven) {
            held.proven = true;
            self.refusals = 0;
            self.refused = None;
            self.recover();
        }
    }

    /// Gives up the token of that generation; nothing if it has been given up already. A token refused as soon as it
    /// was obtained means that fetching doesn't help: then the next fetch waits, longer each time.
    pub(super) fn refused(&mut self, now: Instant, generation: u64) {
        let Some(held) = self.held.take_if(|held| held.token.generation == generation) else { return };
        self.refusals = self.refusals.saturating_add(1);
        self.refusals_total += 1;
        let until = now + backoff(self.refusals);
        self.refused = Some(Refused { bearer: held.token.bearer, until });
        let fresh = !held.proven && now.since(held.obtained) < PROOF_TIME;
        self.not_before = match (self.polls, fresh) {
            (true, _) => now,
            (false, true) => until,
            (false, false) => self.not_before,
        };
        if fresh {
            self.fail("a token was refused as soon as it was obtained".into());
        }
    }

    pub(super) fn public(&self, now: Instant) -> TokenState {
        match (&self.held, &self.trouble) {
            (Some(held), _) if now < held.expires => TokenState::Held,
            (_, Some(trouble)) => TokenState::Failing(trouble.clone()),
            (_, None) => TokenState::Pending,
        }
    }

    pub(super) fn figures(&self, now: Instant) -> TokenFigures {
        let held = self.held.as_ref().filter(|held| now < held.expires);
        TokenFigures {
            state: self.public(now),
            obtained: self.generation,
            failures: self.failures_total,
            refusals: self.refusals_total,
            age: held.map(|held| now.since(held.obtained)),
            expires_in: held.filter(|held| held.expires != Instant::NEVER).map(|held| held.expires.since(now)),
        }
    }

    fn fail(&mut self, trouble: String) {
        if !self.warned {
            self.warned = true;
            tracing::warn!(reason = trouble, "no fresh token; trying again");
        }
        self.trouble = Some(trouble);
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.warned) {
            tracing::info!("token obtained again");
        }
    }
}

/// From one to sixty seconds, doubling, the later half of each at random.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(BACKOFF_DOUBLINGS_MAX);
    jittered((BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX)).max(BACKOFF_MIN)
}

fn jittered(ceiling: Duration) -> Duration {
    let [.., random] = Uuid::new_v4().into_bytes();
    ceiling / 2 + ceiling / 2 * u32::from(random) / u32::from(u8::MAX)
}

/// What a source gave out.
#[derive(Debug)]
pub(in crate::salesforce) struct Fetched {
    pub(super) bearer: HeaderValue,
    /// When to fetch again; `None` for never.
    pub(super) refresh_after: Option<Duration>,
    /// How long it is good for; `None` for as long as it is accepted.
    pub(super) life: Option<Duration>,
}

/// Why a source gave out nothing.
#[derive(Debug)]
pub(in crate::salesforce) struct Failure {
    pub(in crate::salesforce) text: String,
    /// How long the token endpoint asks typingd to wait.
    pub(in crate::salesforce) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), retry_after: None }
    }
}

/// Room for a request's way to the upstream, and for a clock there that is fast; of short lives at most a tenth.
const MARGIN_MAX: Duration = Duration::from_secs(5);

/// A file of a few kilobytes is read in microseconds.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Whatever the upstream does, no more than one call a second to the token endpoint.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A token refused within this time without ever having been accepted was bad from the start.
const PROOF_TIME: Duration = Duration::from_secs(10);

const BACKOFF_MIN: Duration = Duration::from_secs(1);

const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// 1 s doubled six times is past [`BACKOFF_MAX`].
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn fetched(text: &str, life_seconds: u64) -> Result<Fetched, Failure> {
        let life = Duration::from_secs(life_seconds);
        Ok(Fetched {
            bearer: HeaderValue::from_str(text).unwrap(),
            refresh_after: Some(life / 5 * 4),
            life: Some(life),
        })
    }

    fn have(state: &State, now: Instant) -> Option<String> {
        match state.ask(now) {
            Ask::Have(token) => Some(token.bearer.to_str().unwrap().to_owned()),
            Ask::Wait | Ask::Denied(_) => None,
        }
    }

    #[test]
    fn a_short_life_has_a_short_end_and_each_token_proves_itself() {
        let mut state = State { fetching: true, ..State::default() };
        state.fetched(at(0), fetched("a", 20));
        state.fetching = true;
        assert_eq!(have(&state, at(17_999)).as_deref(), Some("a"));
        assert!(matches!(state.ask(at(18_000)), Ask::Wait), "a tenth of its life");
        let first = state.generation;
        state.fetched(at(18_000), fetched("b", 20));
        assert_ne!(state.generation, first);
        // The late answer to a request with the first one says nothing of the second.
        state.accepted(first);
        state.refused(at(18_001), state.generation);
        assert!(state.due() > at(18_001), "a fresh one that is refused is no reason to fetch at once");
    }

    #[test]
    fn another_source_starts_anew_and_what_was_counted_stays() {
        let mut state = State { fetching: true, ..State::default() };
        state.fetched(at(0), fetched("a", 100));
        assert!(state.holds(&HeaderValue::from_static("a")) && !state.holds(&HeaderValue::from_static("b")));
        state.refused(at(1_000), state.generation);
        let failures = state.failures_total;
        for _ in 0..2 {
            state.fetching = true;
            state.fetched(at(2_000), Err(Failure::new("down")));
        }
        let counted = |state: &State| (state.generation, state.failures_total, state.refusals_total, state.warned);
        let before = counted(&state);
        assert_eq!((before.1, before.2), (failures + 2, 1));
        state.restart(true);
        assert_eq!((counted(&state), state.polls, state.failures, state.due()), (before, true, 0, Instant::ORIGIN));
    }

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life() {
        let mut state = State::default();
        assert_eq!(state.due(), Instant::ORIGIN);
        state.fetching = true;
        assert!(matches!(state.ask(at(0)), Ask::Wait));
        state.fetched(at(0), fetched("a", 100));
        assert_eq!(state.due(), at(80_000));
        state.fetching = true;
        assert_eq!(have(&state, at(94_999)).as_deref(), Some("a"));
        // In its last five seconds it is not used while a fresh one is on its way, and used while none is to be had.
        assert!(matches!(state.ask(at(95_000)), Ask::Wait));
        state.fetched(at(95_000), Err(Failure::new("down")));
        assert_eq!(have(&state, at(95_500)).as_deref(), Some("a"));
        assert_eq!(state.public(at(99_999)), TokenState::Held);
        assert_eq!(state.public(at(100_000)), TokenState::Failing("down".into()));
    }

    #[test]
    fn a_late_refusal_of_an_old_token_does_not_cost_the_fresh_one() {
        let mut state = State::default();
        state.fetched(at(0), fetched("a", 100));
        state.accepted(1);
        state.refused(at(5_000), 1);
        assert_eq!(state.due(), at(1_000), "a proven token is replaced at once");
        state.fetched(at(5_100), fetched("b", 100));
        state.refused(at(5_200), 1);
        assert_eq!(have(&state, at(5_200)).as_deref(), Some("b"));
    }

    #[test]
    fn tokens_rejected_at_once_are_fetched_ever_more_slowly() {
        let mut state = State::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for round in 1..=12 {
            state.fetched(now, fetched(&format!("t{round}"), 1800));
            state.refused(now, round);
            assert!(matches!(state.public(now), TokenState::Failing(_)));
            waits.push(state.due().since(now));
            now = state.due();
        }
        assert!(waits.iter().all(|wait| *wait >= BACKOFF_MIN && *wait <= BACKOFF_MAX), "{waits:?}");
        assert!(waits[11] >= BACKOFF_MAX / 2, "{waits:?}");
        // One that is taken ends it.
        state.fetched(now, fetched("good", 1800));
        state.accepted(13);
        assert_eq!(state.refusals, 0);
    }

    #[test]
    fn a_source_with_no_new_token_is_asked_ever_more_slowly() {
        let mut state = State::default();
        state.fetched(at(0), fetched("a", 1800));
        state.accepted(1);
        state.refused(at(60_000), 1);
        state.fetched(at(60_010), fetched("a", 1800));
        assert!(matches!(state.ask(at(60_010)), Ask::Denied(_)));
        let due = state.due();
        assert!(due >= at(61_000), "{due:?}");
        state.fetched(due, fetched("a", 1800));
        assert_eq!(have(&state, due).as_deref(), Some("a"));
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_or_as_asked() {
        let mut state = State::default();
        let mut fail = |now: Instant, retry_after| {
            state.fetched(now, Err(Failure { text: "invalid_grant".into(), retry_after }));
            state.due().since(now)
        };
        let mut now = at(0);
        for ceiling in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (ceiling, wait) = (Duration::from_secs(ceiling), fail(now, None));
            assert!(wait <= ceiling && wait >= (ceiling / 2).max(BACKOFF_MIN), "{wait:?} of {ceiling:?}");
            now = now + wait;
        }
        let mut state = State::default();
        state.fetched(at(0), Err(Failure { text: "busy".into(), retry_after: Some(Duration::from_secs(7)) }));
        assert_eq!(state.due(), at(7_000));
    }
}
