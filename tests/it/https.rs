//! What passes through to a far side over TLS: HTTP/2 where it is offered, else HTTP/1.1.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use crate::bench::Daemon;
use crate::connector::{Connector, connect, form, message};
use crate::process::until;

#[derive(Clone, Debug)]
pub(crate) struct Came {
    version: Version,
    path: String,
    pub(crate) authority: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Came {
    /// Whether it is a request of typingd's own.
    pub(crate) fn is_own(&self) -> bool {
        self.headers.get("user-agent").is_some_and(|name| name.to_str().unwrap().starts_with("typingd/"))
    }
}

/// It is `localhost` and [`NAME`].
pub(crate) struct FarSide {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: String,
    came: Arc<Mutex<Vec<Came>>>,
}

/// A name that no name service knows.
pub(crate) const NAME: &str = "scrt.example";

type Body = BoxBody<Bytes, std::io::Error>;

/// Answers with what it was sent, and a trailer; at `/api/v1/cut` it stops in the midst.
async fn answer(request: Request<Incoming>, came: Arc<Mutex<Vec<Came>>>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let path = head.uri.path().to_owned();
    let cut = path == "/api/v1/cut";
    let host = head.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
    came.lock().unwrap().push(Came {
        version: head.version,
        path,
        authority: head.uri.authority().map(ToString::to_string).or(host),
        headers: head.headers,
        body: body.to_vec(),
        trailers,
    });
    let mut frames = vec![Ok(Frame::data(body))];
    if cut {
        frames.push(Err(std::io::ErrorKind::ConnectionAborted.into()));
    } else {
        frames.push(Ok(Frame::trailers(HeaderMap::from_iter([(
            "x-sum".parse().unwrap(),
            HeaderValue::from_static("1"),
        )]))));
    }
    let frames = futures_util::StreamExt::then(futures_util::stream::iter(frames), |frame| async {
        // What stands before is sent by itself; and arrives by itself, where the end would overtake it.
        match &frame {
            Ok(_) => tokio::task::yield_now().await,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
        frame
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    Ok(response)
}

/// Typing entries are acknowledged as Salesforce does it.
fn acknowledged() -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")).map_err(|never| match never {}).boxed());
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    response
}

/// A certificate in PEM, and the TLS of a server that has it and offers these protocols.
pub(crate) fn server_tls(protocols: &[&str]) -> (String, rustls::ServerConfig) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), NAME.to_owned()]).unwrap();
    let (certificate, chain) = (key.cert.pem(), vec![key.cert.der().clone()]);
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut tls = tls.with_no_client_auth().with_single_cert(chain, private.into()).unwrap();
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    (certificate, tls)
}

impl FarSide {
    /// `protocols` are those that it offers.
    pub(crate) fn start(protocols: &[&str]) -> Self {
        let (certificate, tls) = server_tls(protocols);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let came = Arc::new(Mutex::new(Vec::new()));
        let (log, (tell, told)) = (Arc::clone(&came), mpsc::channel());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let service = service_fn(move |request: Request<Incoming>| {
                            let log = Arc::clone(&log);
                            async move {
                                let own = request
                                    .headers()
                                    .get("user-agent")
                                    .is_some_and(|name| name.to_str().unwrap().starts_with("typingd/"));
                                // The daemon's own call at its start, by which it knows that somebody answers.
                                if own && request.method() == Method::HEAD {
                                    return Ok(acknowledged());
                                }
                                let answer = answer(request, log).await;
                                if own { Ok(acknowledged()) } else { answer }
                            }
                        });
                        let io = TokioIo::new(stream);
                        // How a connection ends is the client's affair.
                        if http2 {
                            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            let _ = server.serve_connection(io, service).await;
                        } else {
                            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                        }
                    });
                }
            });
        });
        Self { address: told.recv().unwrap(), certificate, came }
    }

    fn daemon(&self, trusted: bool) -> Daemon {
        let upstream = format!("https://localhost:{}", self.address.port());
        let root = match trusted {
            true => self.certificate.clone(),
            // Somebody else's, so that no roots of the machine are needed.
            false => rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem(),
        };
        let settings = "drop_in.enabled = true\nupstream.ca_file = 'root.pem'";
        Daemon::start_with(&upstream, settings, "", |directory| {
            std::fs::write(directory.path().join("root.pem"), root).unwrap();
        })
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }
}

#[test]
fn over_tls_everything_passes_by_http_1() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let far_side = FarSide::start(protocols);
        let daemon = far_side.daemon(true);
        let connector = Connector::new(&daemon.address, "t");
        let answer = connector.message("u");
        assert_eq!(answer.status, 202, "{protocols:?}: {answer:?}");
        assert!(answer.head.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer:?}");
        let came = far_side.came().pop().unwrap();
        assert_eq!((came.version, came.path.as_str()), (Version::HTTP_11, "/api/v1/interactions"));
        assert_eq!(came.body, form(&message("c", "u")), "{protocols:?}");
        assert_eq!(came.headers["orgid"], "00DXX0000000001");
        assert!(came.headers.get("connection").is_none());

        // Trailers, both ways.
        let mut stream = connect(&daemon.address);
        let request =
            b"POST /api/v1/route HTTP/1.1\r\nhost: t\r\nte: trailers\r\ntrailer: x-end\r\nconnection: close\r\n\
                        transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"), "{protocols:?}: {text}");
        assert_eq!(far_side.came().pop().unwrap().trailers.unwrap()["x-end"], "1");

        // A stream that is reset ends the caller's connection in mid-answer.
        let mut stream = connect(&daemon.address);
        stream.write_all(b"POST /api/v1/cut HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nhalf").unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(" 202 ") && !text.ends_with("0\r\n\r\n"), "{protocols:?}: {text}");

        // typingd's own requests go the same way.
        assert_eq!(connector.started("v").status, 202);
        until("typingd's own request", || {
            far_side.came().iter().any(|came| String::from_utf8_lossy(&came.body).contains("TypingStartedIndicator"))
        });
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_an_upstream_out_of_reach() {
    let far_side = FarSide::start(&["h2"]);
    let daemon = far_side.daemon(false);
    let answer = Connector::new(&daemon.address, "t").message("u");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.problem().starts_with("the Interaction Service can't be reached"), "{answer:?}");
    assert!(far_side.came().is_empty());
}

#[test]
fn roots_are_read_again_with_the_configuration() {
    let far_side = FarSide::start(&["h2"]);
    let daemon = far_side.daemon(false);
    let connector = Connector::new(&daemon.address, "t");
    assert_eq!(connector.message("u").status, 502);
    std::fs::write(daemon.file("root.pem"), &far_side.certificate).unwrap();
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(connector.started("u").status, 202);
    until("its own request", || far_side.came().iter().any(Came::is_own));
    // What is no certificate changes nothing.
    std::fs::write(daemon.file("root.pem"), "none").unwrap();
    let said = daemon.tell_by("reload", &[]);
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.stderr.contains("ca_file"), "{said:?}");
    assert_eq!(connector.message("u").status, 202);
}
