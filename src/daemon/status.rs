//! What the parts beside the loop report for each snapshot.

use tokio::sync::watch;

use super::upstream::Line;
use crate::api::signals::Malformed;
use crate::drop_in::DropIn;
use crate::observe::snapshot::{ConfigurationInfo, RuntimeInfo, TokenState, TokenStatus};
use crate::salesforce::{self, Client, TokenFigures};

/// The parts that are asked, and what does not change.
pub(super) struct Parts {
    pub(super) line: Line,
    pub(super) configuration: watch::Receiver<ConfigurationInfo>,
    pub(super) started_at: u64,
    pub(super) sandbox: bool,
    pub(super) route: watch::Receiver<Route>,
    pub(super) malformed: Malformed,
    pub(super) state_dir: bool,
}

/// What another configuration may change.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) upstream: String,
    pub(super) listening: Vec<String>,
    pub(super) drop_in: Option<DropIn>,
}

impl Parts {
    pub(super) fn runtime(self) -> Box<dyn Fn() -> RuntimeInfo + Send> {
        Box::new(move || {
            let Route { upstream, listening, drop_in } = self.route.borrow().clone();
            RuntimeInfo {
                started_at: self.started_at,
                sandbox: self.sandbox,
                upstream,
                listening,
                malformed: self.malformed.count(),
                state_dir: self.state_dir,
                drop_in: drop_in.as_ref().map(DropIn::figures),
                token: token(&self.line.client()),
                configuration: self.configuration.borrow().clone(),
            }
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
