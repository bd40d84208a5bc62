//! What operators are told of the parts beside the loop, asked of each at every look.

use std::sync::Arc;

use tokio::sync::watch;

use super::far_side::Line;
use crate::admin::look::{Holding, Look, Seen, Token};
use crate::admin::reading::Reading;
use crate::clock::Clock;
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
    pub(super) state_dir: bool,
}

/// What another configuration may change.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) upstream: String,
    pub(super) listening: Vec<String>,
    pub(super) drop_in: bool,
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
                state_dir: self.state_dir,
                drop_in,
                token: token(&self.line.client()),
                configuration: self.reading.borrow().clone(),
            }
        })
    }
}

/// How the token stands.
pub(super) fn token(client: &Client) -> Token {
    let Some(figures) = client.token_figures() else {
        return Token { state: Holding::Borrowed, ..Token::default() };
    };
    let (state, trouble) = match figures.state {
        TokenState::Held => (Holding::Held, None),
        TokenState::Pending => (Holding::Pending, Some("no token has been fetched yet".to_owned())),
        TokenState::Failing(why) => (Holding::Failing, Some(why)),
    };
    let TokenFigures { obtained, failures, refusals, age, expires_in, .. } = figures;
    Token { state, trouble, obtained, failures, refusals, age, expires_in }
}
