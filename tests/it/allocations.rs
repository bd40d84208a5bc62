//! What the way of a signal costs in allocations, counted: a time would differ from machine to machine, and one more of
//! these goes unnoticed otherwise. Everything but the upstream runs on the test's own thread, the only one that is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use typingd::api::signals::Ingest;
use typingd::base::clock::Clock;
use typingd::driver::{self, Carrier, Observers, inbox};
use typingd::engine::Engine;
use typingd::engine::policy::Policy;
use typingd::http::{Address, Listener};
use typingd::observe::events::EventLog;
use typingd::salesforce::settings::{Auth, Secret};
use typingd::salesforce::{Client, Settings};

/// Requests that are counted, and those before them: tables and buffers grow to their size first.
const COUNTED: usize = 1_000;
const WARM_UP: usize = 500;
/// In so many rounds.
const ROUNDS: usize = 5;
/// What tables that grow add to each dispatch.
const GROWTH: f64 = 1.9;

/// An upstream on threads of its own that acknowledges everything, and how many requests it has answered.
fn upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let count = count.clone();
            std::thread::spawn(move || {
                let (mut bytes, mut filled) = (vec![0; 64 * 1024], 0);
                while let Ok(read @ 1..) = stream.read(&mut bytes[filled..]) {
                    filled += read;
                    // The last boundary ends a form, and one request waits for the answer to the one before.
                    if bytes[..filled].ends_with(b"--\r\n") {
                        filled = 0;
                        let body = r#"{"success":true,"id":"x","workItemIds":[]}"#;
                        let length = body.len();
                        let head = format!("HTTP/1.1 202 Accepted\r\ncontent-length: {length}\r\n\r\n{body}");
                        if stream.write_all(head.as_bytes()).is_err() {
                            return;
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    (address, answered)
}

/// A client of the upstream, as the daemon has one.
fn carrier(upstream: SocketAddr, clock: Clock) -> Client {
    let settings = Settings {
        base_url: format!("http://{upstream}").parse().unwrap(),
        org_id: "00DXX0000000001".into(),
        authorization_context: "Context".into(),
        channel_contexts: Default::default(),
        authorization_context_type: None,
        request_timeout: Duration::from_secs(10),
        in_flight_max: 16,
        ca_file: None,
        proxy: None,
        connect_to: None,
        places: Default::default(),
        auth: Auth::Fixed(Secret::new("a-token")),
    };
    Client::new(settings, clock).unwrap()
}

/// Edge, loop and engine, delivering by `carrier`.
async fn serve(clock: Clock, carrier: impl Carrier + Sync) -> SocketAddr {
    let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
    let Address::Tcp(address) = listener.address().clone() else { panic!("a TCP address was asked for") };
    let (inbox, requests) = inbox::inbox();
    tokio::spawn(async move {
        // Their senders live as long as the server.
        let (_controls, commands) = driver::controls();
        let (body_bytes_max, body_bytes) = watch::channel(1 << 20);
        let (stop, stopping) = watch::channel(false);
        let mut engine = Engine::new(Policy::default(), 1);
        engine.observe_decisions();
        engine.observe_dropped();
        let mut observers = Observers::default();
        observers.history = Some(EventLog::new(1).0);
        tokio::spawn(driver::run(engine, clock, carrier, requests, commands, observers, None));
        Ingest::new(inbox, body_bytes).serve(listener, stopping).await;
        drop((body_bytes_max, stop));
    });
    address
}

/// Sends a request, and reads its answer. It allocates nothing.
async fn send(stream: &mut TcpStream, request: &[u8]) {
    let mut answer = [0; 1_024];
    stream.write_all(request).await.unwrap();
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer[..read]));
}

fn keystroke(from: &str) -> Vec<u8> {
    let body = format!(r#"{{"to":"c","from":"{from}","signal":"keystroke","at":1700000000123}}"#);
    let length = body.len();
    let head = "POST /v1/signals HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {length}\r\n\r\n{body}").into_bytes()
}

/// Allocations of this thread for each request, and for what leaves after it, if it does: the fewest of some rounds, for a
/// race for a connection to the upstream adds some.
fn allocations(requests: &[Vec<u8>], leaves: bool) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (upstream, answered) = upstream();
    let clock = Clock::start();
    let mut stream = runtime.block_on(async {
        let address = serve(clock, carrier(upstream, clock)).await;
        TcpStream::connect(address).await.unwrap()
    });
    let mut work = |requests: &[Vec<u8>]| {
        runtime.block_on(async {
            let all = async {
                let before = answered.load(Ordering::SeqCst);
                for request in requests {
                    send(&mut stream, request).await;
                }
                while leaves && answered.load(Ordering::SeqCst) < before + requests.len() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), all).await
        })
    };
    let (warm_up, counted) = requests.split_at(WARM_UP);
    work(warm_up).expect("each is answered");
    let rounds = counted.chunks(COUNTED / ROUNDS).map(|round| {
        let taken = allocation_counter::measure(|| work(round).expect("each is answered"));
        taken.count_total as f64 / round.len() as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

#[test]
fn a_further_signal_takes_few_allocations() {
    let requests: Vec<_> = (0..WARM_UP + COUNTED).map(|_| keystroke("somebody-who-types")).collect();
    let each = allocations(&requests, false);
    println!("allocations for a further signal: {each:.2}");
    assert!(each <= SIGNAL + 0.5, "{each}");
}

#[test]
fn a_dispatch_takes_few_allocations() {
    let requests: Vec<_> = (0..WARM_UP + COUNTED).map(|n| keystroke(&format!("user-{n:08}"))).collect();
    let each = allocations(&requests, true);
    println!("allocations for a first signal with its dispatch and outcome: {each:.2}");
    assert!(each <= DISPATCH + GROWTH, "{each}");
}

/// Of a signal that changes nothing, a request of its own, answered.
const SIGNAL: f64 = 1.0;
/// Of a first signal and its TypingStarted, acknowledged.
const DISPATCH: f64 = 43.0;
