//! A request on its way upstream, and its answer on its way back.

use std::pin::pin;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::Value;

use super::forward_body::{ForwardBody, RequestBody, strip};
use super::in_flight::InFlightGuard;
use super::paced::Paced;
use super::progress::{Broken, SharedProgress};
use super::turns::HeldPlace;
use super::written::Written;
use super::{INTERACTIONS, Shared};
use crate::base::text::with_causes;
use crate::http::{AnswerBody, Problem};
use crate::model::CredentialId;
use crate::salesforce::credentials::Credentials;
use crate::salesforce::pool;
use crate::salesforce::{RETRY_AFTER_MIN, retry_after, via};

impl Shared {
    /// Forwards a request, and its answer back, which shows whether its credentials are good: those that are cached as
    /// `known`, or whichever it shows.
    pub(super) async fn forward(
        &self,
        head: Parts,
        prefix: Vec<Frame<Bytes>>,
        body: RequestBody,
        guard: InFlightGuard,
        place: HeldPlace,
        known: Option<CredentialId>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let unknown = self.context.cache.is_some() && known.is_none();
        let credentials = unknown.then(|| Credentials::of(&head.headers)).flatten();
        let interaction = head.uri.path() == INTERACTIONS;
        let request = ForwardBody::of_request(prefix, body, self.context.clock);
        self.context.inbox.note_passed();
        let answer = self.exchange(head, request, &place).await;
        // Whatever became of it, it holds up no other request any more.
        place.release();
        let answer = answer.inspect_err(|_| self.context.activity.tally.unanswered.add())?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            self.context.inbox.note_rate_limit(retry_after(answer.headers()).unwrap_or(RETRY_AFTER_MIN));
        }
        // Looked for afterwards: they may have become known while the request was forwarded.
        if let Some(cache) = &self.context.cache
            && let Some(id) = known.or_else(|| cache.find(&credentials?))
        {
            let status = answer.status();
            if status.is_success() {
                cache.accept(id, None);
            } else if status == StatusCode::UNAUTHORIZED && interaction {
                // Elsewhere it may be the scope that is lacking.
                cache.reject(id, None, None);
            }
        }
        let (mut head, body) = answer.into_parts();
        strip(&mut head.headers);
        head.version = Version::HTTP_11;
        let body = match body {
            // Its length is on its head.
            pool::AnswerBody::Whole(body) if head.headers.contains_key(header::CONTENT_LENGTH) => {
                AnswerBody::Ready(body)
            }
            body => {
                let body = Body::new(Paced::of_answer(Body::new(body), self.settings.stall_timeout));
                AnswerBody::Routed(Body::new(ForwardBody::of_answer(body, self.context.clock, guard)))
            }
        };
        Ok(Response::from_parts(head, body))
    }

    /// Sends a request upstream, and waits for its answer's head for as long as anything moves. Gives up the request's place
    /// as soon as what has arrived of it is written.
    async fn exchange(
        &self,
        mut head: Parts,
        body: ForwardBody,
        place: &HeldPlace,
    ) -> Result<Response<pool::AnswerBody<ForwardBody>>, Problem> {
        strip(&mut head.headers);
        via::append(&mut head.headers);
        head.version = Version::HTTP_11;
        let path = self.context.connection.forward_path(&head.uri).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the address can't be forwarded: {error}"))
        })?;
        head.uri = path.into();
        let progress = body.progress();
        let mut written = Written::new(progress.clone(), place);
        let request = Request::from_parts(head, body);
        let is_sent = || progress.lock().ended;
        // Where it stays: it has some thousand bytes.
        let answer = pin!(self.pool.request(request, |cx, flushed| written.poll(cx, flushed), is_sent));
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| match progress.lock().broken {
                Some(broken) => broken_problem(broken),
                None => {
                    let what = if error.is_connect() { "can't be reached" } else { "broke off before its answer" };
                    Problem::new(StatusCode::BAD_GATEWAY, format!("the Interaction Service {what}: {}", with_causes(&error)))
                }
            }),
            () = self.stalled(&progress) => {
                let timeout = self.settings.stall_timeout.as_secs_f64();
                let detail = format!("the Interaction Service has not answered for {timeout} s");
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
            }
        }
    }

    /// Ends when nothing has moved for too long, and it was the upstream's turn.
    async fn stalled(&self, progress: &SharedProgress) {
        let (clock, timeout) = (self.context.clock, self.settings.stall_timeout);
        let mut still_since = progress.lock().moved;
        loop {
            self.stall_timers.sleep_until(clock.timer_at(still_since + timeout)).await;
            let progress = progress.lock();
            match (progress.awaited, progress.moved) {
                (true, _) => still_since = clock.now(),
                (false, moved) if moved <= still_since => return,
                (false, moved) => still_since = moved,
            }
        }
    }
}

/// An answer of typingd's own.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Ready(body.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

pub(super) fn broken_problem(broken: Broken) -> Problem {
    let status = match broken {
        Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Broken::Stalled | Broken::Dripped => StatusCode::REQUEST_TIMEOUT,
        Broken::Off => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, broken.to_string())
}
