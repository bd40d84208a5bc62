//! A far side whose every byte the test writes itself, and that keeps every byte it was sent.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::connector::read_until;
use crate::process::{PATIENCE, wait_for};

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) head: String,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    /// Behind the last chunk.
    pub(crate) trailers: String,
    /// The connection ended before the body did.
    pub(crate) cut: bool,
}

impl Came {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The header lines, sorted.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<_> = self.head.lines().skip(1).filter(|line| !line.is_empty()).collect();
        fields.sort_unstable();
        fields
    }
}

pub(crate) struct FarSide {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
    heads: Arc<AtomicUsize>,
}

impl FarSide {
    /// `answer` writes what it likes once a request is there as a whole; `false`: the connection ends. The threads end
    /// with the process.
    pub(crate) fn start(answer: impl Fn(&Came, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::new(AtomicUsize::new(0));
        let (log, answer, begun) = (Arc::clone(&came), Arc::new(answer), Arc::clone(&heads));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (log, answer, begun) = (Arc::clone(&log), Arc::clone(&answer), Arc::clone(&begun));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    while let Some(request) = read(&mut stream, &begun) {
                        // The daemon's own call at its start, by which it knows that somebody answers.
                        if is_first_call(&request.head) {
                            if write(&mut stream, "404 Not Found", "", b"") {
                                continue;
                            }
                            return;
                        }
                        log.lock().unwrap().push(request.clone());
                        if request.cut || !answer(&request, &mut stream) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, came, heads }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// Waits until so many requests have begun.
    pub(crate) fn until_begun(&self, number: usize) {
        wait_for("the head of a request at the far side", || {
            (self.heads.load(Ordering::SeqCst) >= number).then_some(())
        });
    }

    /// The last request, once there are so many.
    pub(crate) fn await_request(&self, number: usize) -> Came {
        wait_for("a request at the far side", || self.came().get(number - 1).cloned())
    }
}

/// An answer with a length.
pub(crate) fn write(stream: &mut TcpStream, status: &str, fields: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
}

fn is_first_call(head: &str) -> bool {
    head.starts_with("HEAD ") && head.to_ascii_lowercase().contains("\r\nuser-agent: typingd/")
}

fn read(stream: &mut TcpStream, begun: &AtomicUsize) -> Option<Came> {
    let head = String::from_utf8(read_until(stream, b"\r\n\r\n").ok()?).unwrap();
    if !is_first_call(&head) {
        begun.fetch_add(1, Ordering::SeqCst);
    }
    let mut came = Came { head, body: Vec::new(), trailers: String::new(), cut: false };
    came.cut = read_body(stream, &mut came).is_err();
    Some(came)
}

fn read_body(stream: &mut TcpStream, came: &mut Came) -> io::Result<()> {
    let head = came.head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked\r\n") {
        loop {
            let size = read_until(stream, b"\r\n")?;
            let size = usize::from_str_radix(String::from_utf8(size).unwrap().trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let start = came.body.len();
            came.body.resize(start + size, 0);
            stream.read_exact(&mut came.body[start..])?;
            read_until(stream, b"\r\n")?;
        }
        loop {
            let line = String::from_utf8(read_until(stream, b"\r\n")?).unwrap();
            if line == "\r\n" {
                return Ok(());
            }
            came.trailers.push_str(&line);
        }
    }
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    came.body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut came.body)
}
