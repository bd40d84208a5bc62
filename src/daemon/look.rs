//! What operators are told of the parts beside the loop, asked of each at every look.

use std::sync::Arc;

use tokio::sync::watch;

use crate::admin::look::{Holding, Look, Seen, Token};
use crate::admin::reading::Reading;
use crate::clock::Clock;
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
    pub(super) state_dir: bool,
    pub(super) drop_in: bool,
}

impl Parts {
    /// Asks them all.
    pub(super) fn look(self) -> Look {
        Arc::new(move || Seen {
            started_at: self.started_at,
            uptime: self.clock.now().since(Instant::ORIGIN),
            stopping: *self.stopping.borrow(),
            sandbox: self.sandbox,
            upstream: self.upstream.clone(),
            listening: self.listening.clone(),
            state_dir: self.state_dir,
            drop_in: self.drop_in,
            token: token(&self.client),
            configuration: self.reading.borrow().clone(),
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
