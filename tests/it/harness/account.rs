//! An upstream that keeps its own account: who is typing, by the keys that the test itself has given, and what is shown,
//! by the requests that have arrived.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use typingd::base::clock::{self, Stopwatch};

/// What the account says so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) starteds: u64,
    /// Starteds for an icon that was on, long before a refresh was due.
    pub(crate) repeated: u64,
    pub(crate) stoppeds: u64,
    /// Stoppeds for an icon that was off.
    pub(crate) extra: u64,
    /// Stoppeds for the icon of a user who was typing.
    pub(crate) flickers: u64,
    /// The most requests in any one second.
    pub(crate) peak: usize,
}

#[derive(Debug, Default)]
struct User {
    /// Since when the icon is on, or refreshed.
    shown: Option<Duration>,
    /// The last key, unless something has ended the typing since.
    key: Option<Duration>,
}

struct Books {
    watch: Stopwatch,
    /// A Started sooner after another is none of a check.
    refresh: Duration,
    /// Someone who has pressed a key within it is typing.
    typing: Duration,
    users: HashMap<String, User>,
    tally: Tally,
    recent: VecDeque<Duration>,
    last_off: Duration,
}

pub(crate) struct Account {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

impl Account {
    /// For daemons with this timing. Its threads end with the process.
    pub(crate) fn start(check: Duration, dismiss: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books {
            watch: clock::stopwatch(),
            refresh: check * 4 / 5,
            typing: dismiss * 4 / 5,
            users: HashMap::new(),
            tally: Tally::default(),
            recent: VecDeque::new(),
            last_off: Duration::ZERO,
        }));
        let shared = Arc::clone(&books);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let books = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &books));
            }
        });
        Self { address, books }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn now(&self) -> Duration {
        self.with(|books| books.watch.elapsed())
    }

    /// A key is given to a daemon.
    pub(crate) fn key(&self, user: &str) {
        self.with(|books| books.users.entry(user.to_owned()).or_default().key = Some(books.watch.elapsed()));
    }

    /// The user is told to have stopped: the icon goes off rightly.
    pub(crate) fn end(&self, user: &str) {
        self.with(|books| books.users.entry(user.to_owned()).or_default().key = None);
    }

    /// Nobody is typing any more: what goes off from now on goes off rightly.
    pub(crate) fn cease(&self) {
        self.with(|books| books.users.values_mut().for_each(|user| user.key = None));
    }

    pub(crate) fn shown(&self) -> usize {
        self.with(|books| books.users.values().filter(|user| user.shown.is_some()).count())
    }

    /// Since when a user's icon is on, or refreshed.
    pub(crate) fn shown_since(&self, user: &str) -> Option<Duration> {
        self.with(|books| books.users.get(user)?.shown)
    }

    /// When the last icon that went off did.
    pub(crate) fn last_off(&self) -> Duration {
        self.with(|books| books.last_off)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.with(|books| books.tally)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.books.lock().unwrap())
    }
}

impl Books {
    fn enter(&mut self, user: &str, started: bool) {
        let now = self.watch.elapsed();
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
            self.recent.pop_front();
        }
        self.tally.peak = self.tally.peak.max(self.recent.len());
        let user = self.users.entry(user.to_owned()).or_default();
        if started {
            self.tally.starteds += 1;
            self.tally.repeated += u64::from(user.shown.is_some_and(|since| now < since + self.refresh));
            user.shown = Some(now);
            return;
        }
        self.tally.stoppeds += 1;
        if user.shown.take().is_none() {
            self.tally.extra += 1;
        } else {
            self.last_off = now;
            self.tally.flickers += u64::from(user.key.is_some_and(|key| now < key + self.typing));
        }
    }
}

fn serve(stream: TcpStream, books: &Mutex<Books>) {
    let _ = stream.set_nodelay(true);
    let Ok(mut answers) = stream.try_clone() else { return };
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut line, mut first) = (0, String::new(), true);
        loop {
            line.clear();
            if stream.read_line(&mut line).map_or(true, |read| read == 0) {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            assert!(!lower.starts_with("transfer-encoding"), "a body without a length");
            if lower == "\r\n" {
                break;
            }
            first = false;
        }
        assert!(!first, "a head without a line");
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8_lossy(&body);
        let between = |start: &str| Some(body.split_once(start)?.1.split_once('"')?.0.to_owned());
        if let Some(user) = between("\"from\":\"") {
            books.lock().unwrap().enter(&user, body.contains("TypingStartedIndicator"));
        }
        let answer = br#"{"id":"1","success":true,"workItemIds":[]}"#;
        let head = format!(
            "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if answers.write_all(head.as_bytes()).and_then(|()| answers.write_all(answer)).is_err() {
            return;
        }
    }
}
