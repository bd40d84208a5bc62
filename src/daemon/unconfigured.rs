//! What callers get while the configuration is wrong and systemd holds the addresses: for a moment an answer, rather than
//! silence and a start for each of them.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{HANG_UP_MAX, until_stopped};
use crate::http::{self, Limits, Passed, Problem, TokenAuth};

/// How long a start with a wrong configuration lasts at least. systemd starts the service again for the next caller, and
/// gives up on a socket whose service is started twenty times within two seconds.
const HOLD: Duration = Duration::from_secs(3);

/// Answers every request on `passed` with 503, until callers have had time to receive it or the process is asked to stop.
pub(crate) async fn answer_unconfigured(passed: &[Passed]) {
    let problem = || {
        let detail = "typingd is not configured, see its log: systemctl status typingd, or journalctl -u typingd";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(HOLD.as_secs())
    };
    let router = http::guard(Router::new().fallback(async move || problem()), TokenAuth::default());
    let (stop, stopping) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in passed.iter().filter_map(|passed| passed.listener().ok()) {
        servers.spawn(http::serve(listener, router.clone(), Limits::default(), stopping.clone()));
    }
    tokio::select! {
        () = tokio::time::sleep(HOLD) => {}
        Ok(()) = until_stopped() => {}
    }
    let _ = stop.send(true);
    let ended = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(HANG_UP_MAX, ended).await;
}
