//! What the parts beside the loop report for each snapshot.

use tokio::sync::watch;

use crate::api::signals::Malformed;
use crate::drop_in::DropIn;
use crate::observe::snapshot::{ConfigurationInfo, RuntimeInfo, TokenState, TokenStatus};
use crate::salesforce::{self, Client, TokenFigures};

/// The parts that are asked, and what does not change.
pub(super) struct Parts {
    pub(super) client: Client,
    /// Why the upstream has not answered since the start.
    pub(super) unanswered: watch::Receiver<Option<String>>,
    pub(super) configuration: watch::Receiver<ConfigurationInfo>,
    pub(super) started_at: u64,
    pub(super) sandbox: bool,
    pub(super) upstream: String,
    pub(super) listening: Vec<String>,
    pub(super) drop_in: watch::Receiver<Option<DropIn>>,
    pub(super) malformed: Malformed,
    pub(super) state_dir: bool,
}

impl Parts {
    pub(super) fn source(self) -> Box<dyn Fn() -> RuntimeInfo + Send> {
        Box::new(move || RuntimeInfo {
            started_at: self.started_at,
            sandbox: self.sandbox,
            upstream: self.upstream.clone(),
            unanswered: self.unanswered.borrow().clone(),
            listening: self.listening.clone(),
            malformed: self.malformed.count(),
            state_dir: self.state_dir,
            drop_in: self.drop_in.borrow().as_ref().map(DropIn::figures),
            token: token(&self.client),
            configuration: self.configuration.borrow().clone(),
        })
    }
}

fn token(client: &Client) -> TokenStatus {
    let Some(figures) = client.token_figures() else {
        return TokenStatus { state: TokenState::Cached, ..TokenStatus::default() };
    };
    let (state, problem) = match figures.state {
        salesforce::TokenState::Held => (TokenState::Held, None),
        salesforce::TokenState::Pending => (TokenState::Pending, Some("no token has been fetched yet".to_owned())),
        salesforce::TokenState::Failing(why) => (TokenState::Failing, Some(why)),
    };
    let TokenFigures { obtained, failures, refusals, age, expires_in, .. } = figures;
    TokenStatus { state, problem, obtained, failures, refusals, age, expires_in }
}
