//! The least that stands between a client and the upstream: hyper in, hyper out, one thread.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::{Subject, start};

/// The relay answers a request before it passes it on.
pub(crate) const ANSWERS: &str = "--relay-to=";
/// It passes a request on as it came, and the answer back.
pub(crate) const PASSES: &str = "--pass-to=";

/// The relay as a process of its own: this program once more.
pub(crate) fn start_relay(upstream: SocketAddr, kind: &str) -> Subject {
    let mut relay = Command::new(std::env::current_exe().expect("a path to this program"));
    start(relay.arg(format!("{kind}{upstream}"))).expect("the relay starts")
}

/// Whether this process was to be the relay, and has been.
pub(crate) fn was_relay() -> bool {
    let asked = |kind: &str| std::env::args().find_map(|arg| arg.strip_prefix(kind).map(str::to_owned));
    let Some((upstream, passes)) = asked(ANSWERS).map(|to| (to, false)).or_else(|| asked(PASSES).map(|to| (to, true)))
    else {
        return false;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(relay(&upstream, passes));
    true
}

type Client = legacy::Client<HttpConnector, Full<Bytes>>;

async fn relay(upstream: &str, passes: bool) {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let client: Client = legacy::Client::builder(TokioExecutor::new()).build(tcp);
    let target: hyper::Uri = format!("http://{upstream}/api/v1/interactions").parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    #[expect(clippy::print_stdout, reason = "whoever started it reads it")]
    {
        println!("{}", listener.local_addr().expect("its address"));
    }
    while let Ok((stream, _)) = listener.accept().await {
        let (client, target) = (client.clone(), target.clone());
        let service = service_fn(move |request| handle(request, client.clone(), target.clone(), passes));
        let _ = stream.set_nodelay(true);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn handle(
    request: Request<Incoming>,
    client: Client,
    target: hyper::Uri,
    passes: bool,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if passes {
        head.uri = target;
        let answer = client.request(Request::from_parts(head, Full::new(body))).await.expect("the upstream answers");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Ok(hyper::Response::from_parts(head, Full::new(body)));
    }
    tokio::spawn(async move {
        let request = Request::post(target).body(Full::new(body)).expect("a request");
        if let Ok(response) = client.request(request).await {
            let _ = response.into_body().collect().await;
        }
    });
    let mut answer = hyper::Response::new(Full::new(Bytes::from_static(br#"{"accepted":1,"rejected":[]}"#)));
    *answer.status_mut() = hyper::StatusCode::ACCEPTED;
    Ok(answer)
}
