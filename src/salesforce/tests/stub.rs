//! A far side that does as it is told, over a real socket, down to hanging and resetting.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a stub does with a request.
pub(super) enum Reply {
    /// Sends this and keeps the connection.
    Send(String),
    /// Sends this and closes.
    Close(String),
    /// Sends this and resets the connection.
    Reset(String),
    /// Sends this, then nothing any more.
    Hang(String),
    /// Sends this, then bytes for ever.
    Endless(String),
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let field = |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| field(line)).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }
}

pub(super) struct Stub {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stub {
    pub(super) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                connections.spawn(async move { serve(stream, connection, &*answer, &log).await });
            }
        });
        Self { address, seen, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    answer: &(dyn Fn(&Seen) -> Reply + Sync),
    log: &Mutex<Vec<Seen>>,
) {
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(request) = cut_request(&mut buffer, connection) {
                break request;
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        let reply = answer(&request);
        log.lock().unwrap().push(request);
        let (Reply::Send(text) | Reply::Close(text) | Reply::Reset(text) | Reply::Hang(text) | Reply::Endless(text)) =
            &reply;
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        match reply {
            Reply::Send(_) => {}
            Reply::Close(_) => return,
            Reply::Reset(_) => return stream.set_zero_linger().unwrap(),
            Reply::Hang(_) => std::future::pending().await,
            Reply::Endless(_) => while stream.write_all(&[b'x'; 4096]).await.is_ok() {},
        }
    }
}

fn cut_request(buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut seen = Seen { connection, head, body: String::new() };
    let length: usize = seen.header("content-length").expect("every request tells its length").parse().unwrap();
    if buffer.len() < end + length {
        return None;
    }
    seen.body = String::from_utf8(buffer[end..end + length].to_vec()).unwrap();
    buffer.drain(..end + length);
    Some(seen)
}

/// A whole answer with a JSON body and further header lines.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn accepted() -> Reply {
    Reply::Send(answer(
        "202 Accepted",
        "",
        r#"{"success":true,"id":"x","conversationIdentifier":"y","workItemIds":[]}"#,
    ))
}
