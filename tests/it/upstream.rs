//! A far side that does as it is told, down to resetting connections, and counts what is under way at a time.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the stub does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    /// Takes it, after this time.
    Accept(Duration),
    /// Closes the connection with the request half read, which resets it.
    Reset,
}

/// What was under way at a time, at most.
#[derive(Debug, Default)]
struct Peaks {
    all: usize,
    of_one: usize,
}

#[derive(Default)]
struct State {
    under_way: Mutex<HashMap<String, usize>>,
    peaks: Mutex<Peaks>,
    bodies: Mutex<Vec<String>>,
    requests: AtomicUsize,
}

pub(crate) struct Stub {
    address: SocketAddr,
    state: Arc<State>,
}

impl Stub {
    /// `reply` is asked with the number of the request, from 0. The thread ends with the process.
    pub(crate) fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (shared, reply) = (Arc::clone(&state), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, reply) = (Arc::clone(&shared), Arc::clone(&reply));
                std::thread::spawn(move || serve(stream, &state, &*reply));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies that were taken, in the order of arrival.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.state.bodies.lock().unwrap().clone()
    }

    /// Requests that came, taken or not.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// The most requests that were under way at a time, over all conversations and of any one.
    pub(crate) fn peaks(&self) -> (usize, usize) {
        let peaks = self.state.peaks.lock().unwrap();
        (peaks.all, peaks.of_one)
    }
}

fn serve(mut stream: TcpStream, state: &State, reply: &dyn Fn(usize) -> Reply) {
    let mut buffer = Vec::new();
    loop {
        if buffer.is_empty() && !read_more(&mut stream, &mut buffer) {
            return;
        }
        let Reply::Accept(after) = reply(state.requests.fetch_add(1, Ordering::SeqCst)) else {
            // What has not been read is thrown away with the connection: that resets it.
            return;
        };
        let length = loop {
            match whole(&buffer) {
                Some(length) => break length,
                None if !read_more(&mut stream, &mut buffer) => return,
                None => {}
            }
        };
        let body = String::from_utf8_lossy(&buffer[..length]).into_owned();
        buffer.drain(..length);
        state.take(body, after);
        let json = r#"{"success":true,"id":"x","conversationIdentifier":"y","workItemIds":[]}"#;
        let head = "HTTP/1.1 202 Accepted\r\ncontent-type: application/json";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{json}", json.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a piece that is smaller than any request; `false` at the connection's end.
fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut piece = [0; 256];
    let n = loop {
        match stream.read(&mut piece) {
            Ok(n) => break n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    };
    buffer.extend_from_slice(&piece[..n]);
    n > 0
}

/// The length of the request at the start of `buffer`, once all of it is there.
fn whole(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length: usize = text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    (buffer.len() >= head + length).then_some(head + length)
}

impl State {
    /// Counts the request as under way for `span`.
    fn take(&self, body: String, span: Duration) {
        let from = body.split("\"from\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?").to_owned();
        self.bodies.lock().unwrap().push(body);
        {
            let mut under_way = self.under_way.lock().unwrap();
            *under_way.entry(from.clone()).or_default() += 1;
            let mut peaks = self.peaks.lock().unwrap();
            peaks.all = peaks.all.max(under_way.values().sum());
            peaks.of_one = peaks.of_one.max(under_way[&from]);
        }
        std::thread::sleep(span);
        *self.under_way.lock().unwrap().entry(from).or_default() -= 1;
    }
}
