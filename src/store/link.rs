//! A node's two connections to the store: one for its requests, one that waits for its mail. Each is made anew after
//! whatever went wrong; what was under way then has no answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::codec::{Call, Keys, Who, call, read_mail, read_reply, timing_version};
use super::lookup::Lookup;
use super::place::Settings;
use super::server::{Failure, RESPONSE_TIMEOUT, Server, connect, prepare};
use super::timing::SharedText;
use crate::fleet::protocol::{Mail, OwnerId, Reply, Request};

/// What the store tells a node.
#[derive(Debug)]
pub enum News {
    /// The answer to the request of that number.
    Reply(u64, Reply),
    /// The request under way has no answer.
    Silence,
    /// The store has said for certain that it will not serve.
    Refused,
    /// What was in the inbox.
    Mail(Vec<Mail>),
    /// The connection that brings mail broke: what it was bringing is lost.
    MailLost,
}

/// How the connection is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// The last request was answered.
    pub up: bool,
    /// Why not.
    pub problem: Option<String>,
}

/// Carries requests to the store. The loop does it itself: no other task has its turn between a signal and what is asked of
/// the store about it, nor between the store's answer and what follows from it.
struct Service(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The loop's end of both connections. They end with it.
#[derive(Debug)]
pub struct Link {
    requests: mpsc::Sender<Request>,
    service: Service,
    news: mpsc::Receiver<News>,
    reader: watch::Sender<OwnerId>,
    state: Arc<Mutex<LinkState>>,
    lookup: Lookup,
    settings: Arc<Settings>,
    versions: watch::Receiver<u64>,
}

impl Link {
    /// Begins to connect. `name` is what people call this node. Call it within a runtime.
    pub fn new(settings: Settings, name: String, me: OwnerId) -> Self {
        let (requests, asked) = mpsc::channel(1);
        let (told, news) = mpsc::channel(NEWS_MAX);
        let (reader, reads) = watch::channel(me);
        let state = Arc::new(Mutex::new(LinkState::default()));
        let settings = Arc::new(settings);
        let lookup = Lookup::new(settings.clone());
        let (version, versions) = watch::channel(0);
        let shared = (state.clone(), version);
        let (refused, refusals) = watch::channel(None);
        let service = serve_requests(settings.clone(), name, (asked, refusals), told.clone(), shared);
        let service = Service(Box::pin(service));
        tokio::spawn(serve_inbox(settings.clone(), reads, told, refused));
        Self { requests, service, news, reader, state, lookup, settings, versions }
    }

    /// Sends a request. At most one may be under way.
    pub fn send(&self, request: Request) {
        // It is taken as soon as the one before has its answer.
        let _ = self.requests.try_send(request);
    }

    /// From now on this owner's inbox is read.
    pub fn read_inbox_of(&self, me: OwnerId) {
        self.reader.send_if_modified(|reader| std::mem::replace(reader, me) != me);
    }

    /// What comes next. Cancel-safe.
    pub async fn next(&mut self) -> News {
        poll_fn(|cx| match self.poll(cx) {
            Some(news) => Poll::Ready(news),
            None => Poll::Pending,
        })
        .await
    }

    /// What has come by now. Does not wait.
    pub async fn try_next(&mut self) -> Option<News> {
        poll_fn(|cx| Poll::Ready(self.poll(cx))).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<News> {
        // It ends with the link alone.
        let _ = self.service.0.as_mut().poll(cx);
        match self.news.poll_recv(cx) {
            Poll::Ready(news) => news,
            Poll::Pending => None,
        }
    }

    /// What the keys of those that share the org have in their names.
    pub fn group(&self) -> &str {
        &self.settings.group
    }

    /// A handle that says whose a conversation is.
    pub fn lookup(&self) -> Lookup {
        self.lookup.clone()
    }

    /// A handle to the changes of the timing that hold for all.
    pub fn shared_timing(&self) -> SharedText {
        SharedText::new(self.settings.clone(), self.versions.clone())
    }

    /// How it is, as a handle that others may keep.
    pub fn state(&self) -> Arc<Mutex<LinkState>> {
        self.state.clone()
    }
}

async fn serve_requests(
    settings: Arc<Settings>,
    name: String,
    (mut asked, refusals): (mpsc::Receiver<Request>, watch::Receiver<Option<String>>),
    told: mpsc::Sender<News>,
    (state, version): (Arc<Mutex<LinkState>>, watch::Sender<u64>),
) {
    let keys = Keys::new(&settings.group);
    let who = Who { name, org: settings.org.clone() };
    let (mut server, mut connecting) = (None, None);
    let (mut warned, mut logged) = (false, Logged::default());
    let mut failures = 0;
    while let Some(request) = asked.recv().await {
        let number = request.number;
        let call = call(&keys, &request, &who);
        // Why the last connection failed, if none has been made since.
        let mut last = None;
        let answered = timeout(RESPONSE_TIMEOUT, async {
            loop {
                match execute(&settings, (&mut server, &mut connecting), &call, &refusals).await {
                    // Nothing was sent: it may be tried again while there is time.
                    Err(failure) if server.is_none() => {
                        note(&state, &mut logged, Err(&failure));
                        if failure.is_refusal() {
                            // The loop that does not take it has enough to do.
                            let _ = told.try_send(News::Refused);
                        }
                        last = Some(failure);
                        sleep(reconnect_after(failures)).await;
                        failures += 1;
                    }
                    answered => return answered,
                }
            }
        });
        let answered = answered.await.unwrap_or_else(|_| Err(last.unwrap_or(Failure::Late)));
        let answered = answered.and_then(|answered| {
            if let Some(told) = timing_version(&request.command, &answered) {
                version.send_if_modified(|known| std::mem::replace(known, told) != told);
            }
            Ok(read_reply(&request.command, answered)?)
        });
        note(&state, &mut logged, answered.as_ref().map(|_| ()));
        if let (false, Some(Server { facts: Some(facts), .. })) = (warned, &server) {
            warned = true;
            if let Some(warning) = facts.warning() {
                warn!("the store: {warning}");
            }
        }
        let news = match answered {
            Ok(reply) => {
                failures = 0;
                reply.map_or(News::Silence, |reply| News::Reply(number, reply))
            }
            Err(failure) => {
                if failure.is_refusal() && told.send(News::Refused).await.is_err() {
                    return;
                }
                // A late answer must not be taken for the next one's.
                server = None;
                failures += 1;
                sleep(reconnect_after(failures)).await;
                News::Silence
            }
        };
        if told.send(news).await.is_err() {
            return;
        }
    }
}

/// A connection in the making. With a store that is far away it takes longer than a request may, and goes on for the next.
type Connecting = JoinHandle<Result<Server, Failure>>;

async fn execute(
    settings: &Arc<Settings>,
    (server, connecting): (&mut Option<Server>, &mut Option<Connecting>),
    call: &Call,
    refusals: &watch::Receiver<Option<String>>,
) -> Result<redis::Value, Failure> {
    let refused = refusals.borrow().clone();
    if refused.is_some() {
        // Its user may lack a permission: the next connection tells which.
        *server = None;
    }
    let server = match server {
        Some(server) => server,
        None => {
            let begin = || {
                let settings = settings.clone();
                tokio::spawn(async move { prepare(&settings).await })
            };
            let made = connecting.get_or_insert_with(begin).await;
            *connecting = None;
            server.insert(made.unwrap_or(Err(Failure::Late))?)
        }
    };
    // It would own conversations, and hear nothing of what others post.
    if let Some(why) = refused {
        return Err(Failure::NoMail(why));
    }
    let command = match call {
        Call::Script(script, keys, args) => {
            let mut command = redis::cmd("EVALSHA");
            let digest = &server.digests[*script as usize];
            command.arg(digest).arg(keys.len()).arg(keys).arg(args);
            command
        }
        Call::Scan(held, cursor) => {
            let mut command = redis::cmd("HSCAN");
            command.arg(held).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            command
        }
    };
    Ok(server.query(&command).await?)
}

async fn serve_inbox(
    settings: Arc<Settings>,
    mut reads: watch::Receiver<OwnerId>,
    told: mpsc::Sender<News>,
    refused: watch::Sender<Option<String>>,
) {
    let keys = Keys::new(&settings.group);
    let mut connection = None;
    let mut failures = 0;
    while !told.is_closed() {
        let inbox = keys.inbox(*reads.borrow_and_update());
        match read_inbox(&settings, &mut connection, &inbox).await {
            Ok(mail) => {
                failures = 0;
                refused.send_if_modified(|why| why.take().is_some());
                if !mail.is_empty() && told.send(News::Mail(mail)).await.is_err() {
                    return;
                }
            }
            Err(failure) => {
                debug!(%failure, "the store gives no mail");
                // What the server says itself does not pass with the next connection.
                if let Failure::Server(error) = &failure
                    && error.code().is_some_and(|code| code != UNBLOCKED)
                {
                    refused.send_replace(Some(failure.to_string()));
                }
                if connection.take().is_some() && told.send(News::MailLost).await.is_err() {
                    return;
                }
                sleep(reconnect_after(failures)).await;
                failures += 1;
            }
        }
    }
}

/// Waits a while for mail.
async fn read_inbox(
    settings: &Settings,
    connection: &mut Option<MultiplexedConnection>,
    inbox: &str,
) -> Result<Vec<Mail>, Failure> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(settings, INBOX_TIMEOUT).await?),
    };
    let mut command = redis::cmd("BLMPOP");
    command.arg(INBOX_WAIT.as_secs_f64()).arg(1).arg(inbox).arg("LEFT").arg("COUNT").arg(MAIL_MAX);
    match command.query_async(connection).await? {
        redis::Value::Nil => Ok(Vec::new()),
        redis::Value::Array(mut pair) if pair.len() == 2 => Ok(read_mail(pair.remove(1))?),
        other => Ok(read_mail(other)?),
    }
}

/// What the log has said of the store since it could be used last.
#[derive(Debug, Default)]
struct Logged {
    causes: Vec<String>,
    /// One that the next connection is likely to explain.
    vague: Option<String>,
}

impl Logged {
    fn warn(&mut self, problem: String) {
        // The same may keep mail back, and requests.
        let is_logged = self.causes.iter().any(|cause| problem.ends_with(cause) || cause.ends_with(&problem));
        if self.causes.len() < CAUSES_MAX && !is_logged {
            warn!(failure = problem, "the store can't be used");
            self.causes.push(problem);
        }
    }
}

/// Logs a change, and each cause once until the store can be used again.
fn note(state: &Mutex<LinkState>, logged: &mut Logged, outcome: Result<(), &Failure>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(()) if !state.up => {
            let vague = logged.vague.take().filter(|_| logged.causes.is_empty());
            vague.into_iter().for_each(|problem| logged.warn(problem));
            info!("the store answers");
            logged.causes.clear();
            *state = LinkState { up: true, problem: None };
        }
        Ok(()) => {}
        Err(failure) => {
            let problem = failure.to_string();
            if failure.is_vague() && logged.vague.is_none() {
                logged.vague = Some(problem.clone());
            } else {
                logged.vague = None;
                logged.warn(problem.clone());
            }
            *state = LinkState { up: false, problem: Some(problem) };
        }
    }
}

fn reconnect_after(failures: u32) -> Duration {
    (RECONNECT_MIN * 2_u32.saturating_pow(failures.min(8))).min(RECONNECT_MAX)
}

/// How a server ends the wait for mail, for it has become a replica or was told to: what it says to the next is why.
const UNBLOCKED: &str = "UNBLOCKED";
/// Causes that are logged until the store can be used again.
const CAUSES_MAX: usize = 4;
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// Short, so that all share the org within a second of the store's return; and the store waits for it before any share grows
/// (`scripts/heartbeat.lua`).
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// The server lets a reader wait so long for mail; and the reader the server.
const INBOX_WAIT: Duration = Duration::from_secs(1);
const INBOX_TIMEOUT: Duration = Duration::from_secs(3);
/// Mail that is taken at once.
const MAIL_MAX: u32 = 1_000;
/// Mail and answers that may wait for the loop.
const NEWS_MAX: usize = 16;
/// Entries of one step of a scan: some 0.3 ms of the server's time.
const SCAN_COUNT: u32 = 1_000;
