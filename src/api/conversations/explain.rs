//! A conversation explained to a person: why its icon is as it is, and what happens next.

use std::time::Duration;

use crate::base::duration::Written;
use crate::base::text::printable;
use crate::engine::outbox::Acknowledged;
use crate::engine::policy::Mode;
use crate::engine::{Account, Handled, Stage};
use crate::fleet::State;
use crate::model::{Indicator, Instant, Outcome, Reason, Rejection};
use crate::observe::events::{Event, Past, What};

/// One or two sentences.
pub(super) fn explanation(account: &Account, now: Instant, store: Option<State>) -> String {
    let silence = store_silence(store);
    let keeps_back = match store {
        Some(State::InDoubt) => account.desired.is_some(),
        Some(State::Dark) => account.desired.map(Reason::indicator) == Some(Indicator::TypingStarted),
        _ => false,
    };
    let next = if keeps_back { String::new() } else { next(account, now) };
    joined([why(account, now), lasts(account, now), next, silence.to_owned()])
}

/// What follows from the store's silence; empty while there is none.
fn store_silence(store: Option<State>) -> &'static str {
    match store {
        Some(State::InDoubt) => "Nothing is sent now: the store has not renewed this typingd's lease.",
        Some(State::Dark) => {
            "The store gives no answer: no icon goes on until it does (store.when_unreachable = \"dark\")."
        }
        Some(State::Alone) => {
            "The store gives no answer: this typingd serves alone, and another may show the icon too."
        }
        Some(State::Tenured) | None => "",
    }
}

/// The sentences of `parts` that say something.
pub(super) fn joined<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// That the newest keystroke was ignored, and why; empty if it counted.
pub(super) fn ignored(account: Option<&Account>, past: &Past, now: Instant) -> String {
    let Some((event, handled)) = past.ignored.as_ref().and_then(|event| match event.what {
        What::Ignored(handled) => Some((event, handled)),
        _ => None,
    }) else {
        return String::new();
    };
    let why = match handled {
        Handled::Accepted => return String::new(),
        _ if account.and_then(|account| account.last_key).is_some_and(|key| key > event.at) => return String::new(),
        Handled::Late => "its `at` is not later than that of a message already sent",
        Handled::Unopened => "the session is not open; with require_open, `opened` or `message_sent` comes first",
    };
    format!("A keystroke was ignored {} ago: {why}.", span(now.since(event.at)))
}

/// That the last request failed, and how; empty if it did not.
pub(super) fn failed(past: &Past, now: Instant) -> String {
    let Some(Event { at, what: What::Answered(subject, verdict), .. }) = past.result.as_ref() else {
        return String::new();
    };
    if verdict.outcome == Outcome::Delivered {
        return String::new();
    }
    let [status, code] = [("status", verdict.status.map(i64::from)), ("code", verdict.code)]
        .map(|(name, value)| value.map_or_else(String::new, |value| format!(", {name} {value}")));
    let detail = verdict.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", printable(detail)));
    let (indicator, ago) = (subject.reason.indicator().name(), span(now.since(*at)));
    let outcome = verdict.outcome.name().replace('_', " ");
    format!("The last request, a {indicator} {ago} ago, failed ({outcome}{status}{code}{detail}).")
}

/// That the user counts as typing without a further key, where a signal has said so.
fn lasts(account: &Account, now: Instant) -> String {
    match account.last_key.filter(|until| account.stage == Stage::Typing && *until > now) {
        Some(until) => format!("According to a signal, the typing lasts for another {}.", span(until.since(now))),
        None => String::new(),
    }
}

fn why(account: &Account, now: Instant) -> String {
    if let Some((until, refusal)) = account.muted {
        let whom = if refusal == Rejection::Channel { "the channel" } else { "this end user" };
        return format!("Salesforce has refused {whom}: no icon is shown for another {}.", span(until.since(now)));
    }
    let in_flight = |indicator| account.in_flight.is_some_and(|(reason, _)| reason.indicator() == indicator);
    let desired = |indicator| account.desired.map(Reason::indicator) == Some(indicator);
    let text = match (account.stage, account.icon, account.acknowledged) {
        (Stage::Typing, true, _) if in_flight(Indicator::TypingStopped) => {
            "The user is typing again; the previous TypingStopped is still on its way."
        }
        (Stage::Typing, true, Acknowledged::On) => "The user is typing, and the icon is on.",
        (Stage::Typing, true, _) if in_flight(Indicator::TypingStarted) => {
            "The user is typing; a TypingStarted is on its way."
        }
        (Stage::Typing, true, _) if desired(Indicator::TypingStarted) => {
            "The user is typing, but no TypingStarted has reached Salesforce yet."
        }
        (Stage::Typing, true, Acknowledged::Off) => {
            "The user is typing, but the icon is off: the last TypingStarted was refused or dropped."
        }
        (Stage::Typing, true, Acknowledged::Unknown) => {
            "The user is typing; whether the icon is on is unknown: the last request was not acknowledged."
        }
        (Stage::Typing, false, _) => {
            return format!(
                "The user is typing, but the icon went off {} after it was shown (mode after_shown).",
                Written(account.rules.dismiss_after())
            );
        }
        (Stage::Silenced, ..) => {
            return format!(
                "The user has been typing for {} without a pause, as long as max_typing allows: no icon is shown.",
                Written(account.rules.max_typing())
            );
        }
        (Stage::Idle | Stage::Remembered, true, Acknowledged::Off) => {
            "No key was pressed lately, and the icon is off: the last TypingStarted was refused or dropped."
        }
        (Stage::Idle | Stage::Remembered, true, _) => "The icon is on; no key was pressed since it was shown.",
        (_, false, _) if in_flight(Indicator::TypingStopped) => {
            "The user is no longer typing; a TypingStopped is on its way."
        }
        (_, false, _) if in_flight(Indicator::TypingStarted) => {
            "The user is no longer typing; a TypingStarted is still on its way, and a TypingStopped follows it."
        }
        (_, false, Acknowledged::Off) => "The user is not typing; the icon is off.",
        (_, false, _) => {
            "The user is no longer typing, but no TypingStopped has reached Salesforce yet: the icon may be on."
        }
    };
    text.to_owned()
}

fn next(account: &Account, now: Instant) -> String {
    let until = |moment: Instant| span(moment.since(now));
    let deadlines = account.deadlines;
    if let Some(desired) = account.desired.filter(|_| account.in_flight.is_none()) {
        let name = desired.indicator().name();
        return match account.retry.filter(|at| *at > now) {
            _ if account.blocked => format!("The {name} waits for credentials that Salesforce accepts."),
            Some(at) => format!("The {name} is retried in {}.", until(at)),
            None if account.failing => format!("The {name} waits: the circuit breaker is open."),
            None => format!("The {name} waits: the rate or the number of requests in flight is at its limit."),
        };
    }
    if account.muted.is_some() {
        return String::new();
    }
    let beyond = account.last_key.is_some_and(|until| until > deadlines.check);
    if account.icon && account.acknowledged == Acknowledged::Off && account.in_flight.is_none() {
        return match account.stage {
            Stage::Typing => {
                let condition = if beyond { BEYOND } else { "if a key was pressed since the last TypingStarted" };
                format!("A TypingStarted is sent at the next check, in {}, {condition}.", until(deadlines.check))
            }
            _ => "The next key shows it at once.".to_owned(),
        };
    }
    match (account.stage, account.icon, account.rules.mode) {
        (Stage::Typing, true, Mode::AfterShown) if beyond && deadlines.check <= deadlines.dismissal => {
            format!("At the next check, in {}, it is refreshed, {BEYOND}.", until(deadlines.check))
        }
        (Stage::Typing, true, Mode::Idle) if deadlines.max_typing < deadlines.dismissal => {
            format!("It goes off in {}: max_typing is over then.", until(deadlines.max_typing))
        }
        (Stage::Typing, true, Mode::Idle) => format!(
            "Without a further key it goes off in {}; the next check is in {}.",
            until(deadlines.dismissal),
            until(deadlines.check)
        ),
        (Stage::Typing, true, Mode::AfterShown) if deadlines.check <= deadlines.dismissal => format!(
            "At the next check, in {}, it is refreshed if a key was pressed since it was shown; otherwise it goes off in {}.",
            until(deadlines.check),
            until(deadlines.dismissal)
        ),
        (Stage::Typing, true, Mode::AfterShown) => format!(
            "It goes off in {}, whatever is typed, and comes back at the next check, in {}, {}.",
            until(deadlines.dismissal),
            until(deadlines.check),
            if beyond { BEYOND } else { "if a key was pressed by then" }
        ),
        (Stage::Typing, false, _) => {
            format!(
                "It comes back at the next check, in {}, {}.",
                until(deadlines.check),
                if beyond { BEYOND } else { "if a key was pressed since it was shown" }
            )
        }
        (Stage::Silenced, ..) => format!(
            "A pause of {} or a message ends that; without a further key it ends in {}.",
            Written(account.rules.dismiss_after()),
            until(deadlines.pause)
        ),
        (_, true, _) => format!("It goes off in {}; the next key shows it again.", until(deadlines.dismissal)),
        (_, false, _) if account.in_flight.is_some() => String::new(),
        (_, false, _) if !account.opened => "A key shows it only after `opened` or `message_sent`.".to_owned(),
        (_, false, _) => "The next key shows it at once.".to_owned(),
    }
}

/// Why a check counts typing without a further key.
const BEYOND: &str = "because the typing lasts beyond it";

/// A span of time for a person.
fn span(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        millis @ 1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        millis => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::policy::{Policy, Rules};
    use crate::model::{Cause, ConversationRef, Dispatch, Signal, SignalKind, Transient};

    /// An engine and what is under way.
    struct Scene {
        engine: Engine,
        flying: Vec<Dispatch>,
    }

    impl Scene {
        fn new(mode: Mode) -> Self {
            let second = Duration::from_secs(1);
            let rules = Rules::new(mode, 5 * second, 2 * second, 8 * second);
            Self { engine: Engine::new(Policy { rules, ..Policy::default() }, 1), flying: Vec::new() }
        }

        fn give(&mut self, at: u64, kind: SignalKind) -> String {
            let now = Instant::from_millis(at);
            self.engine.handle_timeout(now);
            self.engine.handle_signal(now, conversation(), Signal { at: Some(at), ..Signal::new(kind) }).unwrap();
            self.look(at)
        }

        fn answer(&mut self, at: u64, outcome: Outcome) -> String {
            let dispatch = self.flying.remove(0);
            self.engine.handle_outcome(Instant::from_millis(at), dispatch.id, outcome);
            self.look(at)
        }

        fn look(&mut self, at: u64) -> String {
            let now = Instant::from_millis(at);
            self.engine.handle_timeout(now);
            while let Some(dispatch) = self.engine.poll_dispatch(now) {
                self.flying.push(dispatch);
            }
            explanation(&self.engine.account(now, conversation()).unwrap(), now, None)
        }
    }

    fn conversation() -> ConversationRef<'static> {
        ConversationRef::new("c", "ann").unwrap()
    }

    const LOST: Outcome =
        Outcome::NotSent(Transient { cause: Cause::Unreachable, retry_after: Some(Duration::from_secs(1)) });

    #[test]
    fn of_a_store_that_gives_no_answer() {
        let mut scene = Scene::new(Mode::Idle);
        let now = Instant::from_millis(1_000);
        scene.engine.handle_signal(now, conversation(), Signal::new(SignalKind::Keystroke)).unwrap();
        let account = scene.engine.account(now, conversation()).unwrap();
        let said = |state| explanation(&account, now, state);
        assert!(said(None).contains("the rate or the number"), "{}", said(None));
        assert_eq!(said(None), said(Some(State::Tenured)));
        for (state, why) in [(State::InDoubt, "has not renewed"), (State::Dark, "no icon goes on until it does")] {
            let said = said(Some(state));
            assert!(said.contains(why) && !said.contains("the rate or the number"), "{said}");
        }
        let said = said(Some(State::Alone));
        assert!(said.ends_with("this typingd serves alone, and another may show the icon too."), "{said}");
    }

    #[test]
    fn in_idle_mode() {
        let mut scene = Scene::new(Mode::Idle);
        let said = scene.give(1_000, SignalKind::Keystroke);
        assert!(said.starts_with("The user is typing; a TypingStarted is on its way. Without a further key"), "{said}");
        let said = scene.answer(1_100, Outcome::Delivered);
        let on = "The user is typing, and the icon is on. Without a further key it goes off in 1.9 s; the next check is in 4.9 s.";
        assert_eq!(said, on);
        let said = scene.look(3_000);
        assert_eq!(said, "The user is no longer typing; a TypingStopped is on its way.");
        let said = scene.give(3_100, SignalKind::Keystroke);
        assert!(said.starts_with("The user is typing again; the previous TypingStopped is still on its way"), "{said}");
        assert!(said.contains("The TypingStarted waits") || said.contains("Without a further key"), "{said}");
        scene.answer(3_200, Outcome::Delivered);
        scene.answer(3_300, Outcome::Delivered);
        let said = scene.give(3_400, SignalKind::MessageSent);
        assert_eq!(said, "The user is no longer typing; a TypingStopped is on its way.");
        let said = scene.answer(3_500, LOST);
        let again = "The user is no longer typing, but no TypingStopped has reached Salesforce yet: the icon may be on. \
                     The TypingStopped is retried in 1.0 s.";
        assert_eq!(said, again);
        scene.look(4_500);
        let said = scene.answer(4_600, Outcome::Delivered);
        assert_eq!(said, "The user is not typing; the icon is off. The next key shows it at once.");
    }

    #[test]
    fn an_icon_that_was_refused_goes_off_no_more() {
        for mode in [Mode::Idle, Mode::AfterShown] {
            let mut scene = Scene::new(mode);
            scene.give(1_000, SignalKind::Keystroke);
            let said = scene.answer(1_400, Outcome::Rejected(Rejection::Request));
            let refused = "The user is typing, but the icon is off: the last TypingStarted was refused or dropped. \
                           A TypingStarted is sent at the next check, in 4.6 s, if a key was pressed since the last \
                           TypingStarted.";
            assert_eq!(said, refused, "{mode:?}");
        }
        assert_eq!(joined(["A.".into(), String::new(), "B.".into()]), "A. B.");
    }

    #[test]
    fn of_typing_that_lasts() {
        let key = Signal { lasts_millis: 9_000, ..Signal::new(SignalKind::Keystroke) };
        for (mode, end) in [
            (
                Mode::Idle,
                "According to a signal, the typing lasts for another 8.9 s. It goes off in 7.9 s: \
                 max_typing is over then.",
            ),
            (
                Mode::AfterShown,
                "According to a signal, the typing lasts for another 8.9 s. It goes off in 1.9 s, whatever is typed, \
                 and comes back at the next check, in 4.9 s, because the typing lasts beyond it.",
            ),
        ] {
            let mut scene = Scene::new(mode);
            scene.engine.handle_signal(Instant::from_millis(1_000), conversation(), key).unwrap();
            scene.look(1_000);
            let said = scene.answer(1_100, Outcome::Delivered);
            assert!(said.ends_with(end), "{said}");
        }
    }

    #[test]
    fn of_typing_that_is_no_longer_believed_and_of_refusals() {
        let mut scene = Scene::new(Mode::Idle);
        scene.give(1_000, SignalKind::Keystroke);
        scene.answer(1_100, Outcome::Delivered);
        for at in (2_000..=8_500).step_by(500) {
            scene.give(at, SignalKind::Keystroke);
            while !scene.flying.is_empty() {
                scene.answer(at, Outcome::Delivered);
            }
        }
        let said = scene.look(8_500);
        assert!(said.ends_with("It goes off in 500 ms: max_typing is over then."), "{said}");
        scene.look(9_000);
        let said = scene.answer(9_100, Outcome::Delivered);
        let silenced = "The user has been typing for 8s without a pause, as long as max_typing allows: no icon is shown. \
                        A pause of 2s or a message ends that; without a further key it ends in 1.4 s.";
        assert_eq!(said, silenced);

        scene.give(20_000, SignalKind::Keystroke);
        let said = scene.answer(20_100, Outcome::Rejected(Rejection::Conversation));
        assert_eq!(said, "Salesforce has refused this end user: no icon is shown for another 5 min 0 s.");
    }

    #[test]
    fn in_after_shown_mode() {
        let mut scene = Scene::new(Mode::AfterShown);
        scene.give(1_000, SignalKind::Keystroke);
        let said = scene.answer(1_100, Outcome::Delivered);
        assert!(
            said.contains("It goes off in 1.9 s, whatever is typed, and comes back at the next check, in 4.9 s"),
            "{said}"
        );
        scene.give(2_500, SignalKind::Keystroke);
        scene.look(3_000);
        let said = scene.answer(3_100, Outcome::Delivered);
        assert!(said.starts_with("The user is typing, but the icon went off 2s after it was shown"), "{said}");
        assert!(
            said.ends_with("It comes back at the next check, in 2.9 s, if a key was pressed since it was shown."),
            "{said}"
        );
    }
}
