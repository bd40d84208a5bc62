//! Alive and ready, for whoever supervises the daemon: `GET /healthz` and `GET /readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{PATIENCE, loop_silent};
use crate::driver::Controls;
use crate::http::Problem;

/// Why nothing can be delivered at the moment; `None` when it can.
pub(crate) type Obstacle = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Health {
    controls: Controls,
    obstacle: Obstacle,
}

impl Health {
    /// `obstacle` is asked at each look whether there is a token, and why not.
    #[must_use]
    pub(crate) fn new(controls: Controls, obstacle: Obstacle) -> Self {
        Self { controls, obstacle }
    }

    /// The routes of this edge.
    pub(crate) fn router(self) -> Router {
        Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(self)
    }
}

/// Alive: the loop goes round.
async fn healthz(State(health): State<Health>) -> Response {
    match health.controls.vitals(PATIENCE).await {
        Some(_) => answer(&json!({"status": "alive"})),
        None => loop_silent().into_response(),
    }
}

/// Ready to deliver: a token in hand, an upstream that isn't failing, and no Stopped that waits for credentials.
async fn readyz(State(health): State<Health>) -> Response {
    let Some(vitals) = health.controls.vitals(PATIENCE).await else { return loop_silent().into_response() };
    match (health.obstacle)().or(vitals.trouble) {
        None => answer(&json!({"status": "ready"})),
        Some(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

fn answer(body: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
