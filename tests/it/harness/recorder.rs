//! An upstream with a latency that writes down each entry when it has all of it: in one thread, so that what arrives
//! first is written down first.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// An entry as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) from: String,
    /// `+` for a Started, `-` for a Stopped, else the payload's id.
    pub(crate) what: String,
}

/// What an entry is answered with.
pub(crate) type Verdict = dyn Fn(&Entry) -> u16 + Send + Sync;

pub(crate) struct Recorder {
    address: SocketAddr,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Recorder {
    pub(crate) fn start(latency: Duration) -> Self {
        Self::judging(latency, |_| 202)
    }

    pub(crate) fn judging(latency: Duration, verdict: impl Fn(&Entry) -> u16 + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let entries = Arc::<Mutex<Vec<Entry>>>::default();
        let (record, verdict) = (Arc::clone(&entries), Arc::<Verdict>::from(Box::new(verdict) as Box<Verdict>));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (record, verdict) = (Arc::clone(&record), Arc::clone(&verdict));
                    let service =
                        service_fn(move |request| answer(request, latency, Arc::clone(&record), Arc::clone(&verdict)));
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(connection);
                }
            });
        });
        Self { address, entries }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived of a user, in order.
    pub(crate) fn of(&self, from: &str) -> Vec<String> {
        let entries = self.entries.lock().unwrap();
        entries.iter().filter(|entry| entry.from == from).map(|entry| entry.what.clone()).collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    latency: Duration,
    record: Arc<Mutex<Vec<Entry>>>,
    verdict: Arc<Verdict>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    // Whoever only looks whether somebody is there has brought none.
    let status = read(&body).map_or(202, |entry| {
        let status = verdict(&entry);
        record.lock().unwrap().push(entry);
        status
    });
    tokio::time::sleep(latency).await;
    let mut response = Response::new(Full::from("{\"success\":true}"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

/// The object of the part `json`, which is the last of its form, if there is one.
fn read(body: &[u8]) -> Option<Entry> {
    let start = body.windows(6).rposition(|bytes| bytes == b"{\"from").or_else(|| body.iter().position(|b| *b == b'{'));
    let json: Value = serde_json::Deserializer::from_slice(&body[start?..]).into_iter().next().unwrap().unwrap();
    let item = &json["interactions"][0];
    let what = match item["payload"]["entryType"].as_str() {
        Some("TypingStartedIndicator") => "+",
        Some("TypingStoppedIndicator") => "-",
        Some(_) => item["payload"]["id"].as_str().unwrap(),
        None => item["id"].as_str().unwrap(),
    };
    Some(Entry { from: json["from"].as_str().unwrap().to_owned(), what: what.to_owned() })
}
