//! Credentials that connectors show: each connector has its own, a dead token hurts nobody else, and no icon is left on
//! for want of a good one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::sync::watch;
use typingd::base::clock::{self, Clock};
use typingd::driver::inbox;
use typingd::driver::{self, Command, Observers};
use typingd::drop_in::{Activity, Context, DropIn, Settings};
use typingd::engine::Engine;
use typingd::engine::policy::Policy;
use typingd::http::{self, Limits, Listener, TokenAuth};
use typingd::salesforce::Client;
use typingd::salesforce::credentials::CredentialCache;
use typingd::salesforce::settings::{Auth, Settings as Upstream};

use crate::bench::{Daemon, Sandbox};
use crate::connector::{Connector, INTERACTIONS, REQUEST_ID, form, typing};
use crate::exposition::{Page, Text};
use crate::far_side::{FarSide, write};
use crate::process::{until, wait_for};
use crate::wire::Address;

/// Without credentials of its own, typingd uses those that connectors show.
const AUTH: &str = "drop_in.enabled = true";
const TIMING: &str = "drop_in.activity_lasts = '400ms'\ntiming.dismiss_after = '200ms'\n\
                      timing.check_interval = '200ms'\ndrop_in.settle = '20s'";

/// A sandbox that takes the token `good`, and those that it issues until they are revoked.
pub(crate) fn strict_sandbox() -> Sandbox {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "good").unwrap();
    Sandbox::start(&["--strict-tokens", "--token-file", token.to_str().unwrap(), "--rate-limit", "100000"])
}

/// A token like those that a connector's process keeps.
pub(crate) fn issue(sandbox: &Sandbox) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let exp = clock::wall_since_epoch().as_secs() + 200;
    let assertion = format!(
        "{}.{}.AAAA",
        part(&json!({"alg": "RS256", "typ": "JWT"})),
        part(&json!({"iss": "key", "sub": "user", "aud": "sandbox", "exp": exp})),
    );
    let body = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={assertion}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = sandbox.address.call("POST", "/services/oauth2/token", &form, body.as_bytes());
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

pub(crate) fn revoke(sandbox: &Sandbox) {
    let answer = sandbox.address.call("DELETE", "/tokens", &[], b"");
    assert!(answer.status < 300, "{answer:?}");
}

fn waiting(daemon: &Daemon) -> Option<f64> {
    let page = Page::read(&daemon.address.get("/metrics").body, Text::Prometheus);
    page.value("typingd_stops_waiting_for_credentials", &[])
}

#[test]
fn a_dead_token_is_reported_and_breaks_no_other_icon() {
    let sandbox = strict_sandbox();
    let mut daemon = Daemon::start_with(&sandbox.address.url(), AUTH, TIMING, |_| {});
    let good = Connector::new(&daemon.address, "good");
    let dead = Connector::new(&daemon.address, "dead-s3cret");
    assert_eq!(dead.started("d").status, 202, "nobody knows yet");
    until("the refusal", || sandbox.of("c", "d").len() == 1);
    let refusal = wait_for("a 401", || Some(dead.started("d")).filter(|answer| answer.status == 401));
    assert_eq!(refusal.header("content-type"), Some("application/json"));
    let message = "the access token is not one this sandbox takes";
    assert_eq!(refusal.json(), json!({"code": 10004, "message": message}), "in Salesforce's own words");

    // On one channel, turn by turn: the good one's icon goes on, is refreshed and goes off; the dead one is refused.
    assert_eq!(good.started("g").status, 202);
    until("the icon", || sandbox.told("c", "g") == "+");
    for _ in 0..6 {
        assert_eq!(dead.started("d").status, 401);
        assert_eq!(dead.started("another").status, 401);
        assert_eq!(good.started("g").status, 202);
        std::thread::sleep(Duration::from_millis(100));
    }
    until("the icon off", || sandbox.told("c", "g").ends_with('-'));
    let told = sandbox.told("c", "g");
    assert!(told.starts_with("++") && told.trim_start_matches('+') == "-", "{told}");
    // What the dead one asked for never showed, and was not asked for again and again.
    assert_eq!(sandbox.of("c", "another").len(), 0);
    assert_eq!(sandbox.of("c", "d").len(), 1);

    // A stop is harmless, whoever asks for it. A message passes, and Salesforce itself refuses it.
    good.started("g");
    until("the icon again", || sandbox.shown() == 1);
    assert_eq!(dead.stopped("g").status, 401);
    until("no icon", || sandbox.shown() == 0);
    let passed = dead.message("g");
    assert_eq!((passed.status, &passed.json()["code"]), (401, &json!(10004)));
    assert_eq!(good.started("g").status, 202, "what was said of the dead one says nothing of the good one");
    until("the icon once more", || sandbox.shown() == 1);
    assert_eq!(good.message("g").status, 202);
    assert_eq!(sandbox.shown(), 0);
    let report = daemon.address.get("/v1/drop_in").json();
    assert!(report["typing_rejected"].as_u64().unwrap() >= 14, "{report}");
    assert_eq!(daemon.address.get("/readyz").status, 200);
    daemon.process.stop();
    assert!(!daemon.process.log().contains("s3cret"), "{}", daemon.process.log());
}

#[test]
fn an_icon_of_an_expired_token_goes_off_with_another() {
    let sandbox = strict_sandbox();
    let daemon = Daemon::start_with(&sandbox.address.url(), AUTH, "drop_in.activity_lasts = '1m'", |_| {});
    let expiring = Connector::new(&daemon.address, &issue(&sandbox));
    let good = Connector::new(&daemon.address, "good");
    for (connector, from) in [(&expiring, "e"), (&good, "g")] {
        assert_eq!(connector.started(from).status, 202);
        sandbox.until_told("c", from, "+");
    }
    revoke(&sandbox);
    assert_eq!(expiring.stopped("e").status, 202, "nobody knows yet");
    sandbox.until_told("c", "e", "+-");
    assert_eq!(sandbox.of("c", "e").len(), 3, "once with its own, once with the other's");
    let answer = expiring.started("e");
    let expected = json!({"code": 10004, "message": "the access token has been revoked"});
    assert_eq!((answer.status, answer.json()), (401, expected));
    good.stopped("g");
    sandbox.until_told("c", "g", "+-");
}

#[test]
fn an_owed_stop_leaves_with_the_first_good_credentials() {
    let sandbox = strict_sandbox();
    let mut daemon = Daemon::start_with(&sandbox.address.url(), AUTH, "drop_in.activity_lasts = '1m'", |_| {});
    let expiring = Connector::new(&daemon.address, &issue(&sandbox));
    expiring.started("e");
    sandbox.until_told("c", "e", "+");
    revoke(&sandbox);
    expiring.stopped("e");
    daemon.process.until_logged("wait for credentials");
    let answer = daemon.address.get("/readyz");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.problem().contains("1 owed TypingStopped wait for credentials"), "{answer:?}");
    assert_eq!(waiting(&daemon), Some(1.0));
    // Others of another context are no help, nor are those of another channel.
    let foreign = Connector { to: "elsewhere".to_owned(), ..Connector::new(&daemon.address, "good") };
    assert_eq!(foreign.message("x").status, 202);
    let mut headers = foreign.headers();
    headers[4].1 = "Another_Context";
    let body = form(&typing("c", "y", "TypingStartedIndicator"));
    assert_eq!(daemon.address.call("POST", INTERACTIONS, &headers, &body).status, 202);
    sandbox.until_told("c", "y", "+");
    // It looks once more, for the channel has accepted some, and waits on.
    until("not ready again", || daemon.address.get("/readyz").status == 503);
    assert_eq!(sandbox.told("c", "e"), "+");
    assert_eq!(Connector::new(&daemon.address, "good").message("somebody").status, 202);
    sandbox.until_told("c", "e", "+-");
    until("ready", || daemon.address.get("/readyz").status == 200);
    assert_eq!(waiting(&daemon), Some(0.0));
    assert_eq!(sandbox.of("c", "e").len(), 3, "a Started, a refused Stopped and a good one: no try was wasted");
}

#[test]
fn after_a_crash_a_stop_leaves_with_other_accepted_credentials() {
    let sandbox = Sandbox::start(&[]);
    let settings = "delivery.state_dir = 'state'\ndrop_in.activity_lasts = '1m'";
    let mut daemon = Daemon::start_with(&sandbox.address.url(), AUTH, settings, |_| {});
    Connector::new(&daemon.address, "t").started("u");
    sandbox.until_told("c", "u", "+");
    daemon.crash();
    until("the stop to wait", || waiting(&daemon) == Some(1.0));
    let answer = daemon.address.get("/readyz");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.problem().contains("credentials"), "{answer:?}");
    let status = daemon.address.get("/v1/status").json();
    assert_eq!(status["state"], "not_ready", "{status}");
    // Long enough for tries with a growing wait between them to have become seldom.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sandbox.told("c", "u"), "+");
    let connector = Connector::new(&daemon.address, "another");
    assert_eq!(connector.started("v").status, 202);
    sandbox.until_told("c", "u", "+-");
    let at = |from: &str, entry: &str| {
        let seen = sandbox.of("c", from).into_iter().find(|seen| seen["entry_type"] == entry);
        seen.unwrap()["at"].as_u64().unwrap()
    };
    let waited = at("u", "TypingStoppedIndicator") - at("v", "TypingStartedIndicator");
    assert!(waited < 500, "the stop came {waited} ms after the Started that showed good credentials");
    until("ready", || daemon.address.get("/readyz").status == 200);
}

#[test]
fn what_is_for_another_org_passes_untouched() {
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start_with(&sandbox.address.url(), AUTH, TIMING, |_| {});
    let connector = Connector::new(&daemon.address, "t");
    let send = |org_id: &'static str, from: &str, entry: &str| {
        let mut headers = connector.headers();
        headers[3].1 = org_id;
        daemon.address.call("POST", INTERACTIONS, &headers, &form(&typing("c", from, entry)))
    };
    // Salesforce asks for 15 characters, and so does the sandbox; what a connector sends is its own affair.
    for (from, org_id, status) in [("b", "00DXX0000000002", 202), ("b18", "00DXX00000000022AA", 400)] {
        let answer = send(org_id, from, "TypingStartedIndicator");
        assert_eq!(answer.status, status, "{answer:?}");
        let own = if status == 202 { "conversationIdentifier" } else { "code" };
        assert!(!answer.json()[own].is_null(), "Salesforce's own answer: {answer:?}");
        let seen = sandbox.of("c", from);
        assert_eq!((seen.len(), &seen[0]["request_id"]), (1, &json!(REQUEST_ID)));
    }
    for (from, org_id) in [("a", "00DXX0000000001"), ("a18", "00DXX00000000012AA")] {
        let answer = send(org_id, from, "TypingStartedIndicator");
        assert_eq!((answer.status, answer.json().get("conversationIdentifier")), (202, None), "{answer:?}");
        until("its entry's being sent by typingd", || !sandbox.of("c", from).is_empty());
        assert_ne!(sandbox.of("c", from)[0]["request_id"], json!(REQUEST_ID));
    }
    until("its icon off again", || sandbox.told("c", "a").ends_with('-'));
    assert_eq!(sandbox.told("c", "b"), "+", "typingd has nothing to do with it");
    let report = daemon.address.get("/v1/drop_in").json();
    assert_eq!((&report["others"], &report["started_taken"]), (&json!(2), &json!(2)), "{report}");
}

/// A drop-in in this process, which believes a refusal for as long as it is told.
async fn drop_in(upstream: &str, refused_for: Duration, stop: watch::Receiver<bool>) -> Address {
    let clock = Clock::start();
    let cache = CredentialCache::new(clock, refused_for);
    let settings = Upstream {
        base_url: upstream.parse().unwrap(),
        org_id: String::new(),
        authorization_context: String::new(),
        channel_contexts: std::collections::HashMap::new(),
        authorization_context_type: None,
        request_timeout: Duration::from_secs(10),
        in_flight_max: 16,
        ca_file: None,
        proxy: None,
        connect_to: None,
        places: Default::default(),
        auth: Auth::Cached,
    };
    let client = Client::with_cache(settings, clock, cache.clone()).unwrap();
    let (inbox, requests) = inbox::inbox();
    let (controls, commands) = driver::controls();
    let observers = Observers::default();
    let engine = Engine::new(Policy::default(), 1);
    tokio::spawn(driver::run(engine, clock, client.clone(), requests, commands, observers, None));
    let news = cache.clone();
    tokio::spawn(async move { while controls.give(Command::Accepted(news.acceptances().await)).await {} });
    let settings = Settings {
        activity_lasts: Duration::from_secs(60),
        settle: Duration::from_secs(20),
        order_wait: Duration::from_secs(20),
        drain: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(20),
        borrow_credentials: true,
        refused_for,
        shadow: false,
    };
    let context = Context {
        inbox,
        cache: Some(cache),
        org_id: None,
        connection: client.connection(),
        shadow: None,
        gate: TokenAuth::new(None),
        clock,
        activity: Activity::new(clock),
    };
    let router = DropIn::new(settings, context).router(axum::Router::new());
    let listener = Listener::bind(&http::Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
    let address = Address::parse(&listener.address().to_string());
    tokio::spawn(http::serve(listener, router, Limits::default(), stop));
    address
}

#[test]
fn a_refusal_is_believed_for_its_time_and_then_asked_anew() {
    let sandbox = strict_sandbox();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_stop, stopping) = watch::channel(false);
    let refused_for = Duration::from_secs(1);
    let address = runtime.block_on(drop_in(&sandbox.address.url(), refused_for, stopping));
    let connector = Connector::new(&address, "dead");
    assert_eq!(connector.started("u").status, 202);
    until("the refusal", || sandbox.of("c", "u").len() == 1);
    wait_for("a 401", || (connector.started("u").status == 401).then_some(()));
    let watch = clock::stopwatch();
    let mut refused = 0;
    wait_for("a 202", || {
        let status = connector.started("anew").status;
        refused += u32::from(status == 401);
        (status == 202).then_some(())
    });
    // It was refused some moments before the 401 was seen.
    assert!(watch.elapsed() < 4 * refused_for && refused > 0, "{:?}", watch.elapsed());
    until("the second try", || sandbox.of("c", "anew").len() == 1);
    wait_for("another 401", || (connector.started("u").status == 401).then_some(()));

    // An icon that waits for its own credentials to be good again is tried with them anew, too.
    let expiring = Connector::new(&address, &issue(&sandbox));
    assert_eq!(expiring.started("e").status, 202);
    sandbox.until_told("c", "e", "+");
    revoke(&sandbox);
    expiring.stopped("e");
    until("two refusals of the stop", || sandbox.of("c", "e").len() == 3);
    let ats: Vec<_> = sandbox.of("c", "e").iter().map(|seen| seen["at"].as_u64().unwrap()).collect();
    assert!(ats[2] - ats[1] >= 900, "{ats:?}");
    // Until then, and after, it leaves at once with what is accepted.
    assert_eq!(Connector::new(&address, "good").message("somebody").status, 202);
    sandbox.until_told("c", "e", "+-");
}

#[test]
fn a_wrong_context_of_one_connector_mutes_no_other() {
    let far_side = FarSide::start(|came, stream| {
        if came.head.to_ascii_lowercase().contains("authorizationcontext: wrong") {
            let fields = "content-type: application/json\r\n";
            return write(stream, "400 Bad Request", fields, b"{\"code\":10017,\"message\":\"no such channel\"}");
        }
        write(stream, "202 Accepted", "", b"{\"success\":true}")
    });
    let settings = "drop_in.activity_lasts = '1m'\ntiming.check_interval = '200ms'";
    let daemon = Daemon::start_with(&far_side.url(), AUTH, settings, |_| {});
    let connector = Connector::new(&daemon.address, "t");
    let started = |context: &'static str, from: &str| {
        let mut headers = connector.headers();
        headers[4] = ("AuthorizationContext", context);
        let answer =
            daemon.address.call("POST", INTERACTIONS, &headers, &form(&typing("c", from, "TypingStartedIndicator")));
        assert_eq!(answer.status, 202, "{answer:?}");
    };
    let shown = |from: &str| {
        let from = format!("\"from\":\"{from}\"");
        far_side.came().iter().any(|came| {
            let wrong = came.head.to_ascii_lowercase().contains("authorizationcontext: wrong");
            !wrong && String::from_utf8_lossy(&came.body).contains(&from)
        })
    };
    started("Wrong", "bad");
    far_side.await_request(1);
    until("the refusal", || daemon.address.get("/v1/status").json()["requests"]["in_flight"] == 0);
    started("Right", "good");
    until("another's icon", || shown("good"));
    // What was refused to the wrong ones is granted to the right ones.
    started("Right", "bad");
    until("the icon", || shown("bad"));
}
