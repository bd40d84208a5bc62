//! What is decided and what becomes of it, told to whoever watches, as it happens.
//!
//! It never waits: a watcher who is too slow misses the oldest, and is told how many.

mod event;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::model::{Decision, Dispatch, Dropped, Instant, WireResult};
pub use event::{Event, Verdict, What};

/// Events that a watcher may be behind: a second of 2,000 requests, each with its decision. They are some two megabytes
/// when somebody watches, and nothing otherwise.
pub const BEHIND_MAX: usize = 4_096;

/// The driver's end.
#[derive(Debug)]
pub struct Chronicle {
    watchers: broadcast::Sender<Arc<News>>,
}

/// Lets watchers in. It goes on existing when the driver's end has gone, and lets nobody in any more. Cheap to clone.
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
    /// As watchers are told it: written by the first who needs it.
    pub text: OnceLock<Bytes>,
}

/// What a watcher hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Something happened.
    News(Arc<News>),
    /// So many events are missed: the watcher was too slow.
    Missed(u64),
}

impl Chronicle {
    /// Of an engine that has been told to keep decisions and what is dropped.
    #[must_use]
    pub fn new() -> (Self, Feed) {
        let (watchers, _) = broadcast::channel(BEHIND_MAX);
        let feed = Feed(watchers.downgrade());
        (Self { watchers }, feed)
    }

    /// The engine decided something.
    pub fn decided(&self, decision: Decision) {
        let Decision { number, at, conversation, reason } = decision;
        self.tell(|| Event { at, conversation, number, reason, what: What::Decided });
    }

    /// A decision came to nothing. It has been told before.
    pub fn dropped(&self, dropped: Dropped) {
        let Dropped { number, at, conversation, reason, why } = dropped;
        self.tell(|| Event { at, conversation, number, reason, what: What::Dropped(why) });
    }

    /// A request has come to its end.
    pub fn answered(&self, now: Instant, dispatch: &Dispatch, result: &WireResult) {
        self.tell(|| Event {
            at: now,
            conversation: dispatch.conversation.clone(),
            number: dispatch.decision,
            reason: dispatch.reason,
            what: What::Answered(Verdict {
                attempt: dispatch.attempt,
                outcome: result.outcome,
                status: result.status,
                code: result.code,
                detail: result.detail.as_deref().map(Into::into),
                round_trip: result.elapsed,
                since_decided: now.since(dispatch.decided),
            }),
        });
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if self.watchers.receiver_count() > 0 {
            // The last watcher may have gone this moment.
            let _ = self.watchers.send(Arc::new(News { event: event(), text: OnceLock::new() }));
        }
    }
}

impl Feed {
    /// Everything from now on; `None` when the driver has ended.
    #[must_use]
    pub fn watch(&self) -> Option<Watch> {
        self.0.upgrade().map(|watchers| Watch(watchers.subscribe()))
    }
}

impl Watch {
    /// The next event; `None` once the driver has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(news) => Some(Heard::News(news)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Heard> {
        match self.0.try_recv() {
            Ok(news) => Some(Heard::News(news)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationRef, Reason};

    fn decision(number: u64) -> Decision {
        let conversation = ConversationRef::new("c", "u").unwrap().to_owned();
        Decision { number, at: Instant::from_millis(number), conversation, reason: Reason::Check }
    }

    #[tokio::test]
    async fn whoever_is_too_slow_is_told_how_much_is_missed_and_goes_on_with_what_is_newest() {
        let (chronicle, feed) = Chronicle::new();
        chronicle.decided(decision(1));
        let mut watch = feed.watch().unwrap();
        let mut slow = feed.watch().unwrap();
        let all = BEHIND_MAX as u64 + 10;
        for number in 1..=all {
            chronicle.decided(decision(number));
            let Some(Heard::News(news)) = watch.next().await else { panic!("nothing is missed by whoever keeps up") };
            assert_eq!(news.event.number, number);
        }
        assert!(watch.try_next().is_none());
        let mut missed = 0;
        let mut heard = Vec::new();
        while let Some(next) = slow.try_next() {
            match next {
                Heard::Missed(more) => missed += more,
                Heard::News(news) => heard.push(news.event.number),
            }
        }
        assert_eq!(missed + heard.len() as u64, all);
        assert_eq!((missed, heard.last()), (10, Some(&all)));
        drop(chronicle);
        assert!(slow.next().await.is_none(), "the end is told");
        assert!(feed.watch().is_none(), "and nobody is let in any more");
    }
}
