//! Shadow mode: everything is forwarded, and what the connector sends Salesforce is compared with what typingd would have
//! sent, so that an operator sees the difference before switching the drop-in on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::interaction::Kind;
use crate::base::clock::Clock;
use crate::driver::{Carrier, Permit};
use crate::model::{Conversation, Dispatch, Indicator, Instant, Outcome, WireResult};

/// Conversations that are compared at a time: the sessions an org may have, and as many again for those that are over.
/// Of further ones only the requests are counted.
const CONVERSATIONS_MAX: usize = 22_000;
/// An icon that comes on again within this time of its going off, without a message in between, has flickered.
const FLICKER_MAX: Duration = Duration::from_secs(30);
/// A stop that is acknowledged within this time of a message belongs to it, though it may have been sent before.
const MESSAGE_STOP_MAX: Duration = Duration::from_secs(1);
/// An icon that is on for this long after its last TypingStarted has been left on.
const LEFT_ON_AFTER: Duration = Duration::from_secs(30);
/// Conversations without a request for so long, whose icons are off, may make room.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The comparison, shared. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Shadow {
    comparison: Arc<Mutex<Comparison>>,
    clock: Clock,
}

/// Records what an engine would send, and acknowledges it.
#[derive(Clone)]
pub(crate) struct ShadowCarrier(Shadow);

impl Shadow {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { comparison: Arc::default(), clock }
    }

    /// What the shadow's engine sends through.
    pub(crate) fn carrier(&self) -> ShadowCarrier {
        ShadowCarrier(self.clone())
    }

    /// The connector has sent Salesforce this, and Salesforce has accepted it.
    pub(super) fn on_connector(&self, conversation: &Conversation, kind: Kind) {
        let indicator = match kind {
            Kind::Started => Indicator::TypingStarted,
            Kind::Stopped => Indicator::TypingStopped,
            Kind::Message => return,
        };
        self.lock().note(self.clock.now(), conversation, Side::Connector, indicator);
    }

    pub(super) fn on_message(&self, conversation: &Conversation) {
        self.lock().on_message(self.clock.now(), conversation);
    }

    pub(super) fn to_json(&self) -> Value {
        self.lock().report(self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Comparison> {
        self.comparison.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carrier for ShadowCarrier {
    async fn carry(&self, dispatch: &Dispatch, _: &Permit) -> WireResult {
        let now = self.0.clock.now();
        self.0.lock().note(now, &dispatch.conversation, Side::Typingd, dispatch.indicator());
        WireResult { outcome: Outcome::Delivered, status: None, code: None, detail: None, elapsed: Duration::ZERO }
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Connector,
    Typingd,
}

#[derive(Debug, Default)]
struct Comparison {
    icons: HashMap<Conversation, [Icon; 2]>,
    sums: [Sums; 2],
    messages: u64,
    messages_under_icon: u64,
    not_compared: u64,
    swept: Instant,
}

/// What one side has sent for one conversation.
#[derive(Clone, Copy, Debug, Default)]
struct Icon {
    on: bool,
    left_on: bool,
    started: Instant,
    /// When it went off, if no message has come since.
    hidden: Option<Instant>,
    message: Option<Instant>,
    last_seen: Instant,
}

/// What one side has sent for all conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    started: u64,
    stopped: u64,
    flickers: u64,
    left_on: u64,
}

impl Comparison {
    fn note(&mut self, now: Instant, conversation: &Conversation, side: Side, indicator: Indicator) {
        let sums = &mut self.sums[side as usize];
        match indicator {
            Indicator::TypingStarted => sums.started += 1,
            Indicator::TypingStopped => sums.stopped += 1,
        }
        let Some(icons) = self.icons_of(now, conversation) else { return };
        let mut icon = icons[side as usize];
        icon.last_seen = now;
        let left_on = icon.note_left_on(now);
        let mut flickered = false;
        match indicator {
            Indicator::TypingStarted => {
                flickered = !icon.on && icon.hidden.is_some_and(|hidden| now.since(hidden) < FLICKER_MAX);
                icon = Icon { on: true, left_on: false, started: now, ..icon };
            }
            Indicator::TypingStopped if icon.on => {
                let of_message = icon.message.is_some_and(|message| now.since(message) < MESSAGE_STOP_MAX);
                icon = Icon { on: false, hidden: (!of_message).then_some(now), ..icon };
            }
            Indicator::TypingStopped => {}
        }
        icons[side as usize] = icon;
        let sums = &mut self.sums[side as usize];
        sums.left_on += u64::from(left_on);
        sums.flickers += u64::from(flickered);
    }

    fn on_message(&mut self, now: Instant, conversation: &Conversation) {
        self.messages += 1;
        let Some(icons) = self.icons.get_mut(conversation) else { return };
        for icon in icons.iter_mut() {
            icon.hidden = None;
            icon.message = Some(now);
            icon.last_seen = now;
        }
        self.messages_under_icon += u64::from(icons[Side::Connector as usize].on);
    }

    fn icons_of(&mut self, now: Instant, conversation: &Conversation) -> Option<&mut [Icon; 2]> {
        if !self.icons.contains_key(conversation) {
            // Looking for those that are over costs a walk through all of them: once in a while is enough.
            if self.icons.len() >= CONVERSATIONS_MAX && self.swept + FORGET_AFTER <= now {
                self.swept = now;
                self.count_left_on(now);
                let over = |icon: &Icon| (!icon.on || icon.left_on) && icon.last_seen + FORGET_AFTER <= now;
                self.icons.retain(|_, icons| !icons.iter().all(over));
            }
            if self.icons.len() >= CONVERSATIONS_MAX {
                self.not_compared += 1;
                return None;
            }
        }
        Some(self.icons.entry(conversation.clone()).or_default())
    }

    fn count_left_on(&mut self, now: Instant) {
        for icons in self.icons.values_mut() {
            for (icon, sums) in icons.iter_mut().zip(&mut self.sums) {
                sums.left_on += u64::from(icon.note_left_on(now));
            }
        }
    }

    fn report(&mut self, now: Instant) -> Value {
        self.count_left_on(now);
        let side = |side: Side| {
            let Sums { started, stopped, flickers, left_on } = self.sums[side as usize];
            let requests = started + stopped;
            json!({"requests": requests, "started": started, "stopped": stopped, "flickers": flickers, "left_on": left_on})
        };
        let requests = |side: Side| {
            let sums = self.sums[side as usize];
            i64::try_from(sums.started + sums.stopped).unwrap_or(i64::MAX)
        };
        json!({
            "connector": side(Side::Connector),
            "typingd": side(Side::Typingd),
            "requests_saved": requests(Side::Connector) - requests(Side::Typingd),
            "messages": self.messages,
            "messages_under_icon": self.messages_under_icon,
            "not_compared": self.not_compared,
        })
    }
}

impl Icon {
    /// Whether it has been left on, and that has not been counted yet.
    fn note_left_on(&mut self, now: Instant) -> bool {
        let news = self.on && !self.left_on && now.since(self.started) >= LEFT_ON_AFTER;
        self.left_on |= news;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConversationRef;
    use Indicator::{TypingStarted as Started, TypingStopped as Stopped};
    use Side::{Connector, Typingd};

    fn conversation(from: &str) -> Conversation {
        ConversationRef::new("c", from).unwrap().to_owned()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn flicker_and_icons_left_on_are_blamed_on_the_right_side() {
        let mut comparison = Comparison::default();
        let u = conversation("u");
        // The sample, whose user pauses and goes away: nothing ever puts its icon off but a message.
        for seconds in [100, 105, 150] {
            comparison.note(at(seconds), &u, Connector, Started);
        }
        // typingd, given the same, with a blink after a pause that was too short.
        for (seconds, indicator) in [(100, Started), (112, Stopped), (120, Started), (122, Stopped), (150, Started)] {
            comparison.note(at(seconds), &u, Typingd, indicator);
        }
        comparison.on_message(at(151), &u);
        comparison.note(at(151), &u, Connector, Stopped);
        comparison.note(at(152), &u, Connector, Started);
        comparison.note(at(151), &u, Typingd, Stopped);
        let json = comparison.report(at(300));
        let expected = json!({
            // On from 105 s on although no one was typing, and again at the end.
            "connector": {"requests": 5, "started": 4, "stopped": 1, "flickers": 0, "left_on": 2},
            "typingd": {"requests": 6, "started": 3, "stopped": 3, "flickers": 2, "left_on": 0},
            "requests_saved": -1,
            "messages": 1,
            "messages_under_icon": 1,
            "not_compared": 0,
        });
        assert_eq!(json, expected);
        assert_eq!(comparison.report(at(400)), expected, "an icon is left on once");
    }

    #[test]
    fn a_flicker_is_short_and_not_of_a_message() {
        let (flicker, of_message) = (FLICKER_MAX.as_millis() as u64, MESSAGE_STOP_MAX.as_millis() as u64);
        let (start, stop, message) = (Some(Started), Some(Stopped), None);
        // What happens after how many milliseconds.
        let (shown, hidden) = ((0, start), (1_000, stop));
        for (events, flickers) in [
            (vec![shown, hidden, (1_000 + flicker - 1, start)], 1),
            (vec![shown, hidden, (1_000 + flicker, start)], 0),
            (vec![shown, hidden, (999 + flicker, stop), (1_000 + flicker, start)], 0),
            (vec![shown, (1_000, message), (1_000 + of_message - 1, stop), (1_000 + of_message, start)], 0),
            (vec![shown, (1_000, message), (1_000 + of_message, stop), (1_001 + of_message, start)], 1),
        ] {
            let mut comparison = Comparison::default();
            let u = conversation("u");
            for (millis, event) in &events {
                let now = Instant::from_millis(100_000 + millis);
                match event {
                    Some(indicator) => comparison.note(now, &u, Typingd, *indicator),
                    None => comparison.on_message(now, &u),
                }
            }
            assert_eq!(comparison.sums[Typingd as usize].flickers, flickers, "{events:?}");
        }
    }

    #[test]
    fn a_message_between_is_no_flicker_and_the_table_is_bounded() {
        let mut comparison = Comparison::default();
        let u = conversation("u");
        comparison.note(at(1), &u, Connector, Started);
        comparison.note(at(2), &u, Connector, Stopped);
        comparison.on_message(at(2), &u);
        comparison.note(at(3), &u, Connector, Started);
        comparison.note(at(4), &u, Connector, Stopped);
        assert_eq!(comparison.sums[0], Sums { started: 2, stopped: 2, flickers: 0, left_on: 0 });
        for i in 0..CONVERSATIONS_MAX {
            comparison.note(at(100), &conversation(&i.to_string()), Connector, Stopped);
        }
        // Those of a minute ago made room, and then there was none.
        assert_eq!((comparison.icons.len(), comparison.not_compared), (CONVERSATIONS_MAX, 0));
        comparison.note(at(101), &conversation("x"), Connector, Started);
        assert_eq!(
            (comparison.icons.len(), comparison.not_compared, comparison.sums[0].started),
            (CONVERSATIONS_MAX, 1, 3)
        );
    }
}
