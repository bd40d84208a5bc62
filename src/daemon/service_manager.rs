//! Notifications to a service manager: that the daemon is ready, that its loop is running, and its status.
//!
//! The protocol is that of `sd_notify(3)`: lines in one datagram. It is spoken here rather than by a library, for those
//! that are at hand block on a manager that is behind with its reading, and know no abstract sockets.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::base::clock;
use crate::base::text::printable;
use crate::driver::heartbeat::Heartbeat;
use crate::model::Instant;
use crate::observe::snapshot::{JournalState, Snapshot};

/// A status line is for one line of a terminal; the upstream's words in it may be long.
const STATUS_CHARS_MAX: usize = 240;
/// How long a manager that does not read may keep a message waiting, and how often it is tried.
const SEND_MAX: Duration = Duration::from_secs(1);
const SEND_SPACING: Duration = Duration::from_millis(20);
/// Without a watchdog the loop beats this often all the same, so that a status does not age.
const BEAT_SPACING_MAX: Duration = Duration::from_secs(15);
/// What a stop may take beyond `shutdown_grace`: the last answers, and a machine that is busy.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// The service manager that has started this process, if there is one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervisor(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// A loop that is silent for so long counts as stuck.
    watchdog: Option<Duration>,
    stage: watch::Sender<Stage>,
    complained: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Stopping,
}

impl Supervisor {
    /// The manager that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`). What can't be
    /// understood is logged, and does not keep the daemon from serving.
    pub(crate) fn present() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let watchdog = match watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()) {
            Ok(watchdog) => watchdog,
            Err(problem) => {
                warn!("{problem}: no watchdog is fed");
                None
            }
        };
        match Manager::at(&name, watchdog) {
            Ok(manager) => Self(Some(Arc::new(manager))),
            Err(error) => {
                warn!(%error, "NOTIFY_SOCKET={}: the service manager can't be notified", name.display());
                Self(None)
            }
        }
    }

    /// The heartbeat that the loop is to have: at rest without a manager. Its other end goes to [`Supervisor::attend`].
    pub(crate) fn heartbeat(&self) -> (Heartbeat, watch::Receiver<Option<Snapshot>>) {
        match &self.0 {
            Some(manager) => Heartbeat::new(manager.beat_spacing()),
            None => (Heartbeat::default(), watch::channel(None).1),
        }
    }

    /// Passes the loop's beats on, until the loop has ended. The first one reports that the daemon is ready: it listens and
    /// its loop runs. Whether it can deliver depends on the upstream, and is a matter of the status: neither the machine's
    /// boot nor an update of the package may wait for that.
    pub(crate) async fn attend(self, snapshots: watch::Receiver<Option<Snapshot>>) {
        if let Some(manager) = self.0 {
            manager.attend(snapshots).await;
        }
    }

    pub(crate) async fn reloading(&self) {
        // While the daemon is starting, READY would be wrong.
        if let Some(manager) = self.0.as_ref().filter(|manager| manager.stage() == Stage::Ready) {
            manager.notify(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", clock::monotonic_micros())).await;
        }
    }

    pub(crate) async fn reloaded(&self) {
        if let Some(manager) = self.0.as_ref().filter(|manager| manager.stage() == Stage::Ready) {
            manager.notify("READY=1\n").await;
        }
    }

    /// Stopping may take `grace`.
    pub(crate) async fn stopping(&self, grace: Duration) {
        if let Some(manager) = &self.0 {
            manager.stage.send_replace(Stage::Stopping);
            let mut lines = "STOPPING=1\nSTATUS=Stopping: icons go off\n".to_owned();
            extend(&mut lines, grace + STOP_MARGIN);
            manager.notify(&lines).await;
        }
    }
}

impl Manager {
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "it is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let stage = watch::Sender::new(Stage::Starting);
        Ok(Self { socket, address, watchdog, stage, complained: AtomicBool::new(false) })
    }

    /// How far apart the loop's beats may lie: half of what the watchdog bears, as its makers advise.
    fn beat_spacing(&self) -> Duration {
        self.watchdog.map_or(BEAT_SPACING_MAX, |watchdog| (watchdog / 2).min(BEAT_SPACING_MAX))
    }

    async fn attend(&self, mut snapshots: watch::Receiver<Option<Snapshot>>) {
        let mut status_line = StatusLine::default();
        while snapshots.changed().await.is_ok() {
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
            let mut lines = String::new();
            if self.advance(Stage::Starting, Stage::Ready) {
                lines.push_str("READY=1\n");
            }
            if self.watchdog.is_some() {
                lines.push_str("WATCHDOG=1\n");
            }
            if let Some(status) = status_line.next(self.stage(), &snapshot) {
                let _ = writeln!(lines, "STATUS={status}");
            }
            self.notify(&lines).await;
        }
    }

    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Goes from one stage to another, unless it has been left meanwhile.
    fn advance(&self, from: Stage, to: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let there = *stage == from;
            if there {
                *stage = to;
            }
            there
        })
    }

    /// Sends these lines. A manager that has gone is missed once; one that does not read is not waited for.
    async fn notify(&self, lines: &str) {
        if lines.is_empty() {
            return;
        }
        let end = clock::timer_after(SEND_MAX);
        let sent = tokio::time::timeout_at(end, async {
            loop {
                match self.socket.send_to_addr(lines.as_bytes(), &self.address) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        tokio::time::sleep(SEND_SPACING).await;
                    }
                    done => break done,
                }
            }
        });
        let error = match sent.await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(ErrorKind::TimedOut, "it does not read"),
        };
        if self.complained.swap(true, Ordering::Relaxed) {
            debug!(%error, "the service manager can't be notified");
        } else {
            warn!(%error, "the service manager (NOTIFY_SOCKET) can't be notified");
        }
    }
}

/// More time for what is under way, from now on.
fn extend(lines: &mut String, more: Duration) {
    let _ = writeln!(lines, "EXTEND_TIMEOUT_USEC={}", more.as_micros());
}

/// How often the watchdog wants to be fed, if it is there for the process `own`.
fn watchdog(micros: Option<String>, process: Option<String>, own: u32) -> Result<Option<Duration>, String> {
    let Some(micros) = micros else { return Ok(None) };
    if process.is_some_and(|process| process != own.to_string()) {
        return Ok(None);
    }
    match micros.parse() {
        Ok(micros @ 1..) => Ok(Some(Duration::from_micros(micros))),
        _ => Err(format!("WATCHDOG_USEC={micros}: expected a number of microseconds")),
    }
}

/// The snapshot in one line, sent again only when it has changed.
#[derive(Debug, Default)]
struct StatusLine {
    last: String,
    /// Requests sent by the beat before, and when that was.
    sent: Option<(Instant, u64)>,
}

impl StatusLine {
    fn next(&mut self, stage: Stage, snapshot: &Snapshot) -> Option<String> {
        let rate = self.rate(snapshot);
        // What follows a line's end would be an order to the manager, and foreign words are among these.
        let status: String = printable(&status(stage, snapshot, rate)).chars().take(STATUS_CHARS_MAX).collect();
        (status != self.last).then(|| {
            self.last.clone_from(&status);
            status
        })
    }

    /// Requests a second since the beat before.
    fn rate(&mut self, snapshot: &Snapshot) -> f64 {
        let sent = snapshot.counts.sent;
        let (since, before) = self.sent.unwrap_or((Instant::ORIGIN, 0));
        let seconds = snapshot.at.since(since).as_secs_f64();
        if seconds == 0.0 {
            return 0.0;
        }
        self.sent = Some((snapshot.at, sent));
        (sent - before) as f64 / seconds
    }
}

fn status(stage: Stage, snapshot: &Snapshot, rate: f64) -> String {
    let Snapshot { census, counts, .. } = snapshot;
    if stage == Stage::Stopping {
        return format!("Stopping: {} left to settle", number(census.unsettled, "conversation"));
    }
    let mut text = match &snapshot.not_ready {
        None => "Ready".to_owned(),
        Some(why) => format!("Not ready ({why})"),
    };
    let _ = write!(
        text,
        ": {} on, {}, {rate:.1} requests/s, {} under way, {} delivered",
        number(census.icons, "icon"),
        number(census.conversations, "conversation"),
        census.in_flight,
        counts.delivered,
    );
    if counts.stops_given_up > 0 {
        let _ = write!(text, ", {} stops given up", counts.stops_given_up);
    }
    if snapshot.journal_state() == JournalState::Degraded {
        text.push_str("; state_dir can't be written");
    }
    if snapshot.recording {
        text.push_str("; a client records the signals");
    }
    text
}

fn number(count: usize, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Census, Counts};
    use crate::journal::Figures;

    fn beat(seconds: u64, sent: u64, not_ready: Option<&str>) -> Snapshot {
        Snapshot {
            at: Instant::from_millis(seconds * 1_000),
            census: Census { icons: 1, conversations: 12, in_flight: 1, ..Census::default() },
            counts: Counts { sent, delivered: sent.saturating_sub(1), ..Counts::default() },
            not_ready: not_ready.map(str::to_owned),
            ..Snapshot::default()
        }
    }

    fn supervisor(name: &OsStr, watchdog: Option<Duration>) -> Supervisor {
        Supervisor(Some(Arc::new(Manager::at(name, watchdog).unwrap())))
    }

    #[test]
    fn the_service_status_follows_the_state() {
        let mut line = StatusLine::default();
        let mut next = |beat: &Snapshot| line.next(Stage::Ready, beat).unwrap_or_default();
        let tail = "1 icon on, 12 conversations";
        assert_eq!(next(&beat(2, 10, None)), format!("Ready: {tail}, 5.0 requests/s, 1 under way, 9 delivered"));
        assert_eq!(next(&beat(4, 10, None)), format!("Ready: {tail}, 0.0 requests/s, 1 under way, 9 delivered"));
        assert_eq!(next(&beat(6, 10, None)), "");
        assert!(next(&beat(8, 10, Some("no token"))).starts_with("Not ready (no token): 1 icon on"));
        let mut degraded = beat(10, 10, None);
        degraded.journal = Some(Figures { degraded: true, ..Figures::default() });
        let status = next(&degraded);
        assert!(status.ends_with("; state_dir can't be written"), "{status}");
        let mut last = beat(12, 10, None);
        last.census.unsettled = 2;
        let status = line.next(Stage::Stopping, &last);
        assert_eq!(status.as_deref(), Some("Stopping: 2 conversations left to settle"));
    }

    #[test]
    fn no_upstream_gives_the_manager_orders() {
        let why = format!("no\nMAINPID=1\r\n\u{85}\0 {}", "é".repeat(10_000));
        let status = StatusLine::default().next(Stage::Ready, &beat(1, 0, Some(&why))).unwrap();
        assert!(status.starts_with("Not ready (no MAINPID=1"), "{status}");
        assert!(!status.contains(char::is_control) && status.chars().count() == STATUS_CHARS_MAX, "{status}");
    }

    #[test]
    fn the_watchdog_is_that_of_this_process_alone() {
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(text("1000000"), None, 7), Ok(second));
        assert_eq!(watchdog(text("1000000"), text("7"), 7), Ok(second));
        assert_eq!(watchdog(text("1000000"), text("8"), 7), Ok(None));
        assert_eq!(watchdog(None, text("7"), 7), Ok(None));
        for wrong in ["0", "-1", "1s", "99999999999999999999999"] {
            let problem = watchdog(text(wrong), None, 7).unwrap_err();
            assert!(problem.starts_with(&format!("WATCHDOG_USEC={wrong}: ")), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_manager_that_does_not_read_is_not_waited_for_long() {
        let name = format!("typingd-test-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let supervisor = supervisor(OsStr::new(&format!("@{name}")), None);
        supervisor.stopping(Duration::from_secs(10)).await;
        let mut message = [0; 1_024];
        let length = manager.recv(&mut message).unwrap();
        let message = std::str::from_utf8(&message[..length]).unwrap();
        assert_eq!(message, "STOPPING=1\nSTATUS=Stopping: icons go off\nEXTEND_TIMEOUT_USEC=20000000\n");
        // Far more than a socket's queue holds.
        let flood = async {
            while !supervisor.0.as_ref().unwrap().complained.load(Ordering::Relaxed) {
                supervisor.0.as_ref().unwrap().notify("WATCHDOG=1\n").await;
            }
        };
        tokio::time::timeout(SEND_MAX * 10, flood).await.expect("it is given up");
        assert!(Manager::at(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[tokio::test]
    async fn ready_is_said_once_even_after_an_early_reload() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let received = || {
            let mut message = [0; 1_024];
            let length = manager.recv(&mut message).ok()?;
            Some(String::from_utf8(message[..length].to_vec()).unwrap())
        };
        let supervisor = supervisor(path.as_os_str(), Some(Duration::from_secs(10)));
        supervisor.reloading().await;
        supervisor.reloaded().await;
        assert_eq!(received(), None);
        let (beats, snapshots) = watch::channel(None);
        let attending = tokio::spawn(supervisor.clone().attend(snapshots));
        let next = async || {
            for _ in 0..10_000 {
                match received() {
                    Some(message) => return message,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
            panic!("nothing is sent");
        };
        beats.send_replace(Some(beat(1, 0, Some("no token yet"))));
        let message = next().await;
        assert!(message.starts_with("READY=1\nWATCHDOG=1\nSTATUS=Not ready (no token yet): "), "{message}");
        beats.send_replace(Some(beat(1, 0, None)));
        let message = next().await;
        assert!(message.starts_with("WATCHDOG=1\nSTATUS=Ready: "), "{message}");
        beats.send_replace(Some(beat(1, 0, None)));
        assert_eq!(next().await, "WATCHDOG=1\n");
        supervisor.reloading().await;
        supervisor.reloaded().await;
        let message = next().await;
        assert!(message.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{message}");
        assert_eq!(next().await, "READY=1\n");
        drop(beats);
        attending.await.unwrap();
    }
}
