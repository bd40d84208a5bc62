//! What is decided and what becomes of it: sent to watchers as it happens, and kept for a while for calls
//! about one conversation.
//!
//! It never waits: a watcher who is too slow misses the oldest, and learns how many. It keeps no keystrokes but those
//! that are ignored, for they are too many; the engine knows the last one of each conversation.

mod event;
mod history;
mod kept;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::engine::Handled;
use crate::model::{ConversationRef, Decision, Dispatch, Dropped, Instant, Signal, SignalKind, WireResult};
use crate::observe::loop_event::LoopEvent;
pub use event::{Event, IGNORED_SPACING, Subject, Verdict, What};
use history::History;
pub use history::{AGE_MAX, BYTES_MAX, EVENTS_MAX, PAST_EVENTS_MAX, Past};

/// Events that a watcher may be behind: a second of 2,000 requests, each with its decision. They are some two megabytes
/// when a client watches, and nothing otherwise.
pub const BEHIND_MAX: usize = 4_096;

/// The driver's end.
#[derive(Debug)]
pub struct EventLog {
    watchers: broadcast::Sender<Arc<News>>,
    history: History,
    /// The requests in flight, by the numbers of their decisions: as many as the engine has.
    flights: HashMap<u64, Flight, foldhash::fast::RandomState>,
}

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// When it left.
    pub left: Instant,
    /// 0 for the first try.
    pub attempt: u32,
}

/// Lets watchers in, as long as the driver's end exists. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed(broadcast::WeakSender<Arc<News>>);

/// A watcher's end.
#[derive(Debug)]
pub struct Watch(broadcast::Receiver<Arc<News>>);

/// An event on its way to watchers.
#[derive(Debug)]
pub struct News {
    /// What happened.
    pub event: Event,
    /// As text for watchers: written by the first that needs it.
    pub text: OnceLock<Bytes>,
}

/// What a watcher receives.
#[derive(Clone, Debug)]
pub enum Watched {
    /// Something happened.
    News(Arc<News>),
    /// So many events are missed: the watcher was too slow.
    Missed(u64),
}

impl EventLog {
    /// Of an engine that keeps decisions and what is dropped. `seed` keys the hash of the ids.
    pub fn new(seed: u64) -> (Self, Feed) {
        let (watchers, _) = broadcast::channel(BEHIND_MAX);
        let feed = Feed(watchers.downgrade());
        (Self { watchers, history: History::new(seed), flights: HashMap::default() }, feed)
    }

    /// Takes the event whole: it is kept. Keystrokes that count are not.
    #[inline]
    pub(crate) fn observe(&mut self, now: Instant, event: LoopEvent<'_>) {
        match event {
            LoopEvent::Received { signals, taken: Ok(handled) } => {
                signals.iter().for_each(|(conversation, signal)| self.on_signal(now, *conversation, *signal, handled));
            }
            LoopEvent::Decided { decision: Decision { number, at, conversation, reason }, waited } => {
                let waited = if reason.is_of_signal() { waited } else { Duration::ZERO };
                self.publish(Event { at, conversation, waited, what: What::Decided(Subject { number, reason }) });
            }
            LoopEvent::Dropped(Dropped { number, at, conversation, reason, why }) => {
                let what = What::Dropped(Subject { number, reason }, why);
                self.publish(Event { at, conversation, waited: Duration::ZERO, what });
            }
            LoopEvent::Sent(dispatch) => {
                self.flights.insert(dispatch.decision, Flight { left: now, attempt: dispatch.attempt });
            }
            LoopEvent::Answered { dispatch, result, .. } => self.on_answer(now, dispatch, result),
            LoopEvent::Batch { .. } | LoopEvent::Received { taken: Err(_), .. } => {}
        }
    }

    #[inline]
    fn on_signal(&mut self, now: Instant, conversation: ConversationRef<'_>, signal: Signal, handled: Handled) {
        let event = |what| Event { at: now, conversation: conversation.to_owned(), waited: Duration::ZERO, what };
        if handled.ignored().is_some() {
            let what = What::Ignored(handled);
            let is_same = |last: Event| last.what == what && now.since(last.at) < IGNORED_SPACING;
            if !self.history.newest(conversation).is_some_and(is_same) {
                self.publish(event(what));
            }
        } else if signal.kind != SignalKind::Keystroke {
            self.history.push_signal(now, conversation, signal.kind);
        }
    }

    fn on_answer(&mut self, now: Instant, dispatch: &Dispatch, result: &WireResult) {
        self.flights.remove(&dispatch.decision);
        let verdict = Verdict {
            attempt: dispatch.attempt,
            outcome: result.outcome,
            status: result.status,
            code: result.code,
            detail: result.detail.as_deref().map(Into::into),
            round_trip: result.elapsed,
            since_decided: now.since(dispatch.decided),
        };
        let subject = Subject { number: dispatch.decision, reason: dispatch.reason };
        let conversation = dispatch.conversation.clone();
        let what = What::Answered(subject, Box::new(verdict));
        self.publish(Event { at: now, conversation, waited: Duration::ZERO, what });
    }

    /// The request in flight with the decision of that number.
    pub fn flight(&self, number: u64) -> Option<Flight> {
        self.flights.get(&number).copied()
    }

    /// What is known at `now` of a conversation's past.
    #[must_use]
    pub fn past(&mut self, now: Instant, conversation: ConversationRef<'_>) -> Past {
        self.history.forget(now);
        self.history.past(conversation)
    }

    fn publish(&mut self, mut event: Event) {
        if self.watchers.receiver_count() > 0 {
            event.conversation = self.history.shared(event.conversation);
            // The last watcher may have gone this moment.
            let _ = self.watchers.send(Arc::new(News { event: event.clone(), text: OnceLock::new() }));
        }
        self.history.push(event);
    }
}

impl Feed {
    /// Everything from now on; `None` when the driver has ended.
    pub fn watch(&self) -> Option<Watch> {
        self.0.upgrade().map(|watchers| Watch(watchers.subscribe()))
    }
}

impl Watch {
    /// The next event; `None` once the driver has ended.
    pub async fn next(&mut self) -> Option<Watched> {
        match self.0.recv().await {
            Ok(news) => Some(Watched::News(news)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Watched::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Watched> {
        match self.0.try_recv() {
            Ok(news) => Some(Watched::News(news)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Watched::Missed(missed)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, Signal};

    fn decide(history: &mut EventLog, number: u64) {
        let (at, conversation) = (Instant::from_millis(number), ConversationRef::new("c", "u").unwrap().to_owned());
        let decision = Decision { number, at, conversation, reason: Reason::Check };
        history.observe(at, LoopEvent::Decided { decision, waited: Duration::ZERO });
    }

    fn number(news: &News) -> u64 {
        match news.event.what {
            What::Decided(subject) => subject.number,
            _ => 0,
        }
    }

    #[tokio::test]
    async fn a_slow_watcher_learns_what_it_missed_and_goes_on() {
        let (mut history, feed) = EventLog::new(1);
        decide(&mut history, 1);
        let mut watch = feed.watch().unwrap();
        let mut slow = feed.watch().unwrap();
        let all = BEHIND_MAX as u64 + 10;
        for i in 1..=all {
            decide(&mut history, i);
            let Some(Watched::News(news)) = watch.next().await else {
                panic!("a watcher that keeps up misses nothing")
            };
            assert_eq!(number(&news), i);
        }
        assert!(watch.try_next().is_none());
        let mut missed = 0;
        let mut received = Vec::new();
        while let Some(next) = slow.try_next() {
            match next {
                Watched::Missed(more) => missed += more,
                Watched::News(news) => received.push(number(&news)),
            }
        }
        assert_eq!(missed + received.len() as u64, all);
        assert_eq!((missed, received.last()), (10, Some(&all)));
        drop(history);
        assert!(slow.next().await.is_none(), "the end is seen");
        assert!(feed.watch().is_none(), "and no one is let in any more");
    }

    #[test]
    fn keystrokes_that_are_ignored_are_one_event_a_second() {
        let (mut history, feed) = EventLog::new(1);
        let mut watch = feed.watch().unwrap();
        let ann = ConversationRef::new("c", "ann").unwrap();
        let mut receive = |millis, handled| {
            let signal = Signal::new(SignalKind::Keystroke);
            let received = LoopEvent::Received { signals: &[(ann, signal)], taken: Ok(handled) };
            history.observe(Instant::from_millis(millis), received);
        };
        for millis in [1, 2, 500, 1_000, 1_001, 1_500] {
            receive(millis, Handled::Late);
        }
        receive(1_600, Handled::Unopened);
        receive(1_700, Handled::Accepted);
        let mut seen = Vec::new();
        while let Some(Watched::News(news)) = watch.try_next() {
            seen.push((news.event.at.as_millis(), news.event.what.clone()));
        }
        let [late, unopened] = [Handled::Late, Handled::Unopened].map(What::Ignored);
        assert_eq!(seen, [(1, late.clone()), (1_001, late), (1_600, unopened.clone())]);
        assert_eq!(history.past(Instant::from_millis(1_700), ann).ignored.unwrap().what, unopened);
    }

    #[test]
    fn watchers_are_not_told_of_signals_and_keystrokes_are_not_kept() {
        let (mut history, feed) = EventLog::new(1);
        let mut watch = feed.watch().unwrap();
        let ann = ConversationRef::new("c", "ann").unwrap();
        for kind in SignalKind::ALL {
            let signals = &[(ann, Signal::new(kind))];
            let received = LoopEvent::Received { signals, taken: Ok(Handled::Accepted) };
            history.observe(Instant::from_millis(1), received);
        }
        assert!(watch.try_next().is_none());
        let kept = history.past(Instant::from_millis(2), ann).events;
        let kinds: Vec<_> = kept.iter().map(|event| event.what.clone()).collect();
        assert_eq!(kinds, SignalKind::ALL[1..].iter().map(|kind| What::Signal(*kind)).collect::<Vec<_>>());
    }
}
