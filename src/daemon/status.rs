//! The status of the parts beside the loop, read from each when operators ask.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::reading::Reading;
use crate::api::signals::Malformed;
use crate::api::status_source::{Holding, Look, Passing, Seen, Token};
use crate::base::clock::Clock;
use crate::drop_in::DropIn;
use crate::http::Traffic;
use crate::model::Instant;
use crate::salesforce::{Client, TokenFigures, TokenState};

/// Those who are asked, and what does not change.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) client: Client,
    pub(super) reading: watch::Receiver<Reading>,
    pub(super) started_at: u64,
    pub(super) sandbox: bool,
    pub(super) upstream: String,
    pub(super) listening: Vec<String>,
    pub(super) drop_in: watch::Receiver<Option<DropIn>>,
    pub(super) traffic: Traffic,
    pub(super) malformed: Malformed,
    pub(super) state_dir: bool,
}

impl Parts {
    pub(super) fn look(self) -> Look {
        Arc::new(move || Seen {
            started_at: self.started_at,
            uptime: self.clock.now().since(Instant::ORIGIN),
            stopping: *self.stopping.borrow(),
            sandbox: self.sandbox,
            upstream: self.upstream.clone(),
            listening: self.listening.clone(),
            traffic: self.traffic.clone(),
            malformed: self.malformed.count(),
            state_dir: self.state_dir,
            drop_in: self.drop_in.borrow().as_ref().map(passing),
            token: token(&self.client),
            configuration: self.reading.borrow().clone(),
        })
    }
}

fn passing(drop_in: &DropIn) -> Passing {
    let tally = drop_in.tally();
    // Read before the messages, of which they are a part.
    let (settled, unsettled, unwaited) = (tally.settled.get(), tally.unsettled.get(), tally.unwaited.get());
    let messages = tally.messages.get();
    Passing {
        requests: [
            ("started_taken", tally.started_taken.get()),
            ("stopped_taken", tally.stopped_taken.get()),
            ("typing_passed", tally.typing_passed.get()),
            ("typing_rejected", tally.typing_rejected.get()),
            ("message", messages),
            ("unread", tally.unread.get()),
            ("other", tally.others.get()),
        ],
        messages: [
            ("off", messages.saturating_sub(settled + unsettled + unwaited)),
            ("settled", settled),
            ("late", unsettled),
            ("unwaited", unwaited),
        ],
        overdue: drop_in.overdue(),
        unanswered: tally.unanswered.get(),
        cut: tally.cut.get(),
        under_way: drop_in.in_flight(),
    }
}

/// The state of the token.
pub(super) fn token(client: &Client) -> Token {
    let Some(figures) = client.token_figures() else {
        return Token { state: Holding::Cached, ..Token::default() };
    };
    let (state, trouble) = match figures.state {
        TokenState::Held => (Holding::Held, None),
        TokenState::Pending => (Holding::Pending, Some("no token has been fetched yet".to_owned())),
        TokenState::Failing(why) => (Holding::Failing, Some(why)),
    };
    let TokenFigures { obtained, failures, refusals, age, expires_in, .. } = figures;
    Token { state, trouble, obtained, failures, refusals, age, expires_in }
}
