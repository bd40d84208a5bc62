//! A request on its way upstream, and its answer on its way back.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode, Version, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use hyper_util::client::legacy::connect::capture_connection;

use super::forward_body::{ForwardBody, strip};
use super::in_flight::InFlightGuard;
use super::paced::Paced;
use super::progress::Broken;
use super::turns::HeldPlace;
use super::{INTERACTIONS, Shared, written};
use crate::base::text::with_causes;
use crate::http::Problem;
use crate::salesforce::credentials::Credentials;
use crate::salesforce::via;

impl Shared {
    /// Forwards a request, and its answer back, which shows whether its credentials are good.
    pub(super) async fn forward(
        &self,
        head: Parts,
        prefix: Vec<Frame<Bytes>>,
        body: Body,
        guard: InFlightGuard,
        place: HeldPlace,
    ) -> Result<Response, Problem> {
        let credentials = self.context.cache.is_some().then(|| Credentials::of(&head.headers)).flatten();
        let interaction = head.uri.path() == INTERACTIONS;
        let request = ForwardBody::of_request(prefix, body, self.context.clock);
        let answer = self.exchange(head, request, &place).await;
        // Whatever became of it, it holds up no other request any more.
        place.release();
        let answer = answer.inspect_err(|_| self.context.activity.tally.unanswered.add())?;
        // Looked for afterwards: they may have become known while the request was forwarded.
        if let (Some(credentials), Some(cache)) = (credentials, &self.context.cache)
            && let Some(id) = cache.find(&credentials)
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
        let body = Body::new(Paced::of_answer(Body::new(body), self.settings.stall_timeout));
        let body = ForwardBody::of_answer(body, self.context.clock, guard);
        Ok(Response::from_parts(head, Body::new(body)))
    }

    /// Sends a request upstream, and waits for its answer's head for as long as anything moves. Gives up the request's place
    /// as soon as what has arrived of it is written.
    async fn exchange(
        &self,
        mut head: Parts,
        body: ForwardBody,
        place: &HeldPlace,
    ) -> Result<Response<hyper::body::Incoming>, Problem> {
        strip(&mut head.headers);
        head.headers.remove(header::HOST);
        via::append(&mut head.headers);
        head.version = Version::HTTP_11;
        head.uri = self.context.connection.forward_uri(&head.uri).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the address can't be forwarded: {error}"))
        })?;
        let progress = body.progress();
        let mut request = Request::from_parts(head, body);
        let written = written::written(capture_connection(&mut request), progress.clone(), || place.release());
        let mut written = std::pin::pin!(written);
        let mut answer = std::pin::pin!(self.pool.request(request));
        let mut still_since = progress.lock().moved;
        loop {
            tokio::select! {
                answer = answer.as_mut() => return answer.map_err(|error| match progress.lock().broken {
                    Some(broken) => broken_problem(broken),
                    None => {
                        let what = if error.is_connect() { "can't be reached" } else { "broke off before its answer" };
                        Problem::new(StatusCode::BAD_GATEWAY, format!("the Interaction Service {what}: {}", with_causes(&error)))
                    }
                }),
                () = written.as_mut() => {}
                () = self.context.clock.sleep_until(still_since + self.settings.stall_timeout) => {
                    if progress.lock().awaited {
                        still_since = self.context.clock.now();
                        continue;
                    }
                    if progress.lock().moved <= still_since {
                        let timeout = self.settings.stall_timeout.as_secs_f64();
                        let detail = format!("the Interaction Service has not answered for {timeout} s");
                        return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail));
                    }
                    still_since = progress.lock().moved;
                }
            }
        }
    }
}

pub(super) fn broken_problem(broken: Broken) -> Problem {
    let status = match broken {
        Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Broken::Stalled | Broken::Dripped => StatusCode::REQUEST_TIMEOUT,
        Broken::Off => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, broken.to_string())
}
