//! What operators are told of the parts beside the loop, asked of each at every look.

use std::sync::Arc;

use tokio::sync::watch;

use super::upstream::Line;
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
    pub(super) line: Line,
    pub(super) reading: watch::Receiver<Reading>,
    pub(super) started_at: u64,
    pub(super) sandbox: bool,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) traffic: Traffic,
    pub(super) malformed: Malformed,
    pub(super) state_dir: bool,
}

/// What another configuration may change.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) upstream: String,
    pub(super) listening: Vec<String>,
    pub(super) drop_in: Option<DropIn>,
}

impl Parts {
    /// Asks them all.
    pub(super) fn look(self) -> Look {
        Arc::new(move || {
            let Standing { upstream, listening, drop_in } = self.standing.borrow().clone();
            Seen {
                started_at: self.started_at,
                uptime: self.clock.now().since(Instant::ORIGIN),
                stopping: *self.stopping.borrow(),
                sandbox: self.sandbox,
                upstream,
                listening,
                traffic: self.traffic.clone(),
                malformed: self.malformed.count(),
                state_dir: self.state_dir,
                drop_in: drop_in.as_ref().map(passing),
                token: token(&self.line.client()),
                configuration: self.reading.borrow().clone(),
            }
        })
    }
}

fn passing(drop_in: &DropIn) -> Passing {
    let figures = drop_in.figures();
    Passing {
        requests: [
            ("started_taken", figures.started_taken),
            ("stopped_taken", figures.stopped_taken),
            ("typing_passed", figures.typing_passed),
            ("typing_rejected", figures.typing_rejected),
            ("message", figures.messages),
            ("unread", figures.unread),
            ("other", figures.others),
        ],
        messages: [
            ("off", figures.messages.saturating_sub(figures.settled + figures.unsettled + figures.unwaited)),
            ("settled", figures.settled),
            ("late", figures.unsettled),
            ("unwaited", figures.unwaited),
        ],
        overdue: figures.overdue,
        unanswered: figures.unanswered,
        cut: figures.cut,
        under_way: figures.under_way,
    }
}

/// How the token stands.
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
