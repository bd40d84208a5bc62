//! `GET /metrics`: what is counted, how it is written.

use std::collections::BTreeSet;

use serde_json::json;
use typingd::base::clock;
use typingd::observe::typing::CHANNELS_OTHER_MAX;

use crate::bench::{Daemon, Sandbox, pair, signal_of};
use crate::connector::Connector;
use crate::exposition::{Page, Text};
use crate::process::{until, wait_for};
use crate::wire::{Answer, Headers};

const OPEN: Headers<'_> = &[("accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")];

fn get(daemon: &Daemon, headers: Headers<'_>) -> Answer {
    let answer = daemon.address.call("GET", "/metrics", headers, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn page(daemon: &Daemon) -> Page {
    Page::read(&get(daemon, &[]).body, Text::Prometheus)
}

#[test]
fn it_is_written_as_both_kinds_of_reader_want_it() {
    let (_sandbox, daemon) = pair(
        "timing.dismiss_after = '1m'\nchannels.'quo\"ted'.authorization_context = 'C'\n\
         channels.'back\\slash'.dismiss = 'idle'\nchannels.'ünïcode 🦊'.dismiss = 'idle'\n\
         channels.'comma,brace}'.dismiss = 'idle'",
    );
    // Names that are hard to write, one that would break readers, and that of all others.
    for channel in ["back\\slash", "quo\"ted", "ünïcode 🦊", "comma,brace}", "line\nbreak", "nul\0", "other"] {
        daemon.give(channel, "ann", "keystroke");
        daemon.give(channel, "ann", "message_sent");
    }
    let answer = get(&daemon, &[("accept", "*/*")]);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let prometheus = Page::read(&answer.body, Text::Prometheus);
    let answer = get(&daemon, OPEN);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    let open = Page::read(&answer.body, Text::OpenMetrics);
    for page in [&prometheus, &open] {
        let sent = |channel: &str| page.value("typingd_messages_total", &[("channel", channel), ("end", "sent")]);
        for channel in ["back\\slash", "quo\"ted", "ünïcode 🦊", "comma,brace}"] {
            assert_eq!(sent(channel), Some(1.0), "{channel}");
        }
        assert_eq!(sent("other"), Some(3.0));
    }
    let names = |page: &Page| -> Vec<String> {
        page.0.iter().map(|family| family.name.trim_end_matches("_total").to_owned()).collect()
    };
    assert_eq!(names(&prometheus), names(&open));
    let posted = daemon.address.call("POST", "/metrics", &[], b"");
    assert_eq!((posted.status, posted.problem().as_str()), (405, "this address takes another method"));
}

#[test]
fn what_happens_is_counted() {
    let settings = "timing.dismiss_after = '150ms'\ntiming.check_interval = '1m'\nchannels.c.dismiss = 'idle'\n\
                    ingest.recording = true\ningest.max_conversations = 3";
    let (sandbox, daemon) = pair(settings);
    until("a token", || page(&daemon).value("typingd_ready", &[]) == Some(1.0));
    let start = page(&daemon);
    assert_eq!(start.value("typingd_composing_seconds_total", &[("channel", "c")]), Some(0.0), "from the start");
    assert_eq!(start.value("typingd_composing_seconds_total", &[("channel", "d")]), None);
    assert_eq!(start.value("typingd_allowed_requests_per_second", &[]), Some(2_000.0));

    // On, off by the timer, on again within the same message, off by the message.
    let at = |signal: &str, at: u64| json!({"to": "c", "from": "ann", "signal": signal, "at": at});
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+-+");
    assert_eq!(daemon.post("/v1/signals", &at("message_sent", 2_000)).status, 202);
    sandbox.until_told("c", "ann", "+-+-");
    // Late: it is counted as that, and is no typing.
    assert_eq!(daemon.post("/v1/signals", &at("keystroke", 1_000)).status, 202);
    daemon.give("c", "bob", "keystroke");
    daemon.give("c", "bob", "stopped");
    daemon.give("c", "cid", "keystroke");
    daemon.give("c", "cid", "ended");
    sandbox.until_told("c", "cid", "+-");
    let page = wait_for("all of it settled", || {
        let page = page(&daemon);
        (page.value("typingd_conversations_unsettled", &[]) == Some(0.0)).then_some(page)
    });
    let c = ("channel", "c");
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels).unwrap();
    let decided = |reason: &str| value("typingd_indicators_total", &[c, ("reason", reason)]);
    assert_eq!(
        ["first_keystroke", "check", "idle", "message_sent", "stopped", "ended"].map(decided),
        [4.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    );
    let ended = |end: &str| value("typingd_messages_total", &[c, ("end", end)]);
    assert_eq!(["sent", "cleared", "ended", "abandoned"].map(ended), [1.0, 1.0, 1.0, 0.0]);
    assert_eq!(value("typingd_timer_stops_total", &[c]), 1.0);
    // A machine that stands still for three seconds between two keys would make it none.
    let resumed = value("typingd_timer_stops_resumed_total", &[c]);
    let composing = value("typingd_composing_seconds_total", &[c]);
    assert!(resumed == 1.0 || composing > 3.0, "{resumed} {composing}");
    assert_eq!(value("typingd_indicator_gap_seconds_count", &[c]), 1.0);
    let gap = value("typingd_indicator_gap_seconds_sum", &[c]);
    assert!(gap > 0.0 && composing >= gap + 0.149, "{gap} {composing}");
    let sent = |indicator: &str| value("typingd_requests_total", &[c, ("indicator", indicator)]);
    let seen = |kind: &str| sandbox.requests().iter().filter(|seen| seen["entry_type"] == kind).count() as f64;
    assert_eq!(sent("TypingStarted"), seen("TypingStartedIndicator"));
    assert_eq!(sent("TypingStopped"), seen("TypingStoppedIndicator"));
    let requests = sent("TypingStarted") + sent("TypingStopped");
    assert_eq!(value("typingd_deliveries_total", &[("outcome", "delivered")]), requests);
    assert_eq!(value("typingd_answers_total", &[("status", "2xx")]), requests);
    let signals = |signal: &str| value("typingd_signals_total", &[("signal", signal), ("outcome", "counted")]);
    assert_eq!(["keystroke", "message_sent", "stopped", "opened", "ended"].map(signals), [4.0, 1.0, 1.0, 0.0, 1.0]);
    assert_eq!(value("typingd_signals_total", &[("signal", "keystroke"), ("outcome", "late")]), 1.0);
    // How long it took: each batch waited, each request came back, one timer had its turn.
    assert_eq!(value("typingd_inbox_wait_seconds_count", &[]), 8.0);
    assert_eq!(value("typingd_request_seconds_count", &[]), requests);
    assert!(value("typingd_request_seconds_sum", &[]) > 0.0);
    assert_eq!(value("typingd_timer_lateness_seconds_count", &[]), decided("idle"));
    let asked_for = ["first_keystroke", "message_sent", "stopped", "ended"].map(decided).iter().sum::<f64>();
    let left = value("typingd_signal_to_wire_seconds_count", &[]);
    assert!(left >= 4.0 && left <= asked_for, "a Started that met its stop has not left: {left} of {asked_for}");
    let queued = ["stop", "start", "overdue_refresh", "refresh"];
    let queued = queued.map(|queue| value("typingd_requests_queued", &[("queue", queue)]));
    assert_eq!((queued, value("typingd_requests_in_flight", &[])), ([0.0; 4], 0.0));
    assert_eq!(value("typingd_token_state", &[("state", "held")]), 1.0);
    assert_eq!((value("typingd_token_refreshes_total", &[]), value("typingd_token_failures_total", &[])), (1.0, 0.0));
    assert!(value("typingd_token_age_seconds", &[]) > 0.0);
    assert_eq!(page.value("typingd_token_expires_in_seconds", &[]), None, "a file does not say");
    assert_eq!(value("typingd_measured_conversations", &[]), 3.0);
    assert_eq!((value("typingd_icons", &[]), value("typingd_recording", &[])), (0.0, 0.0));
    // What it counts is what it forgets nobody for: ann is remembered for the time of her message.
    assert_eq!((value("typingd_conversations", &[]), value("typingd_conversations_lingering", &[])), (1.0, 1.0));
}

#[test]
fn what_is_the_matter_can_be_seen() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\ningest.max_conversations = 1\ningest.recording = true");
    daemon.give("c", "ann", "keystroke");
    assert_eq!(daemon.post("/v1/signals", &signal_of("c", "bob", "keystroke")).status, 429);
    sandbox.until_told("c", "ann", "+");
    sandbox.set_faults(&json!({"faults": ["503"]}));
    daemon.give("c", "ann", "stopped");
    let mut recorder = daemon.address.connect().unwrap();
    recorder.head("GET", "/v1/signals/stream", &[], "accept: */*");
    recorder.some();
    let page = wait_for("an upstream that fails", || {
        let page = page(&daemon);
        (page.value("typingd_ready", &[]) == Some(0.0)).then_some(page)
    });
    for (name, least) in
        [("typingd_requests_retried_total", 4.0), ("typingd_conversations_unsettled", 1.0), ("typingd_recording", 1.0)]
    {
        assert!(page.value(name, &[]) >= Some(least), "{name}: {:?}", page.value(name, &[]));
    }
    let turned_away = [("signal", "keystroke"), ("outcome", "table_full")];
    assert_eq!(page.value("typingd_signals_total", &turned_away), Some(1.0));
    let failing = page.value("typingd_deliveries_total", &[("outcome", "unsure"), ("cause", "failing")]);
    assert!(failing >= Some(5.0), "{failing:?}");
    assert_eq!(page.value("typingd_answers_total", &[("status", "5xx")]), failing);
    sandbox.set_faults(&json!({}));
}

#[test]
fn what_an_earlier_run_left_on_is_counted() {
    let (sandbox, mut daemon) =
        pair("timing.dismiss_after = '1m'\nchannels.c.dismiss = 'idle'\ndelivery.state_dir = 'state'");
    daemon.give("c", "ann", "keystroke");
    sandbox.until_told("c", "ann", "+");
    daemon.crash();
    sandbox.until_told("c", "ann", "+-");
    let c = ("channel", "c");
    let page = wait_for("its answer", || {
        let page = page(&daemon);
        (page.value("typingd_conversations_unsettled", &[]) == Some(0.0)).then_some(page)
    });
    assert_eq!(page.value("typingd_journal_records_total", &[]), Some(1.0), "that its icon is gone");
    assert!(page.value("typingd_journal_bytes", &[]) > Some(18.0));
    assert_eq!(page.value("typingd_indicators_total", &[c, ("reason", "recovered")]), Some(1.0));
    assert_eq!(page.value("typingd_requests_total", &[c, ("indicator", "TypingStopped")]), Some(1.0));
    // It is no stop of a timer's, and nobody has composed anything.
    assert_eq!(page.value("typingd_timer_stops_total", &[c]), Some(0.0));
    assert_eq!(page.value("typingd_composing_seconds_total", &[c]), Some(0.0));
}

#[test]
fn a_request_that_found_no_credentials_is_none() {
    let sandbox = Sandbox::start(&[]);
    let auth = "drop_in.enabled = true\ntiming.dismiss_after = '1m'\nchannels.c.dismiss = 'idle'";
    let daemon = Daemon::start_with(&sandbox.address.url(), auth, "", |_| {});
    daemon.give("c", "ann", "keystroke");
    let token = [("outcome", "not_sent"), ("cause", "no_credentials")];
    let page = wait_for("a try", || {
        let page = page(&daemon);
        (page.value("typingd_deliveries_total", &token) >= Some(1.0)).then_some(page)
    });
    let c = ("channel", "c");
    assert_eq!(page.value("typingd_requests_total", &[c, ("indicator", "TypingStarted")]), Some(0.0));
    assert_eq!(page.value("typingd_request_seconds_count", &[]), Some(0.0));
    assert_eq!(page.value("typingd_token_state", &[("state", "borrowed")]), Some(1.0));
    assert_eq!(page.value("typingd_token_age_seconds", &[]), None);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn what_comes_to_its_interface_is_counted() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    daemon.give("c", "ann", "keystroke");
    let two = json!([signal_of("c", "ann", "keystroke"), {"to": "c", "text": "hello"}]);
    assert_eq!(daemon.post("/v1/signals", &two).status, 202);
    assert_eq!(daemon.post("/v1/signals", &json!({"to": ""})).status, 400);
    let lines = [crate::bench::NDJSON];
    assert_eq!(daemon.address.call("POST", "/v1/signals", &lines, b"{}\nnull\n").status, 400);
    assert_eq!(daemon.address.get("/nothing/at/all").status, 404);
    assert_eq!(daemon.address.get("/v1/timing").status, 200);
    let _idle: Vec<_> = (0..3).map(|_| daemon.address.connect().unwrap()).collect();
    let address = daemon.address.url();
    let listener = ("listener", address.as_str());
    let page = wait_for("the connections", || {
        let page = page(&daemon);
        // The three, and the one that asks; those before it may be a moment in going.
        (page.value("typingd_connections", &[listener]) == Some(4.0)).then_some(page)
    });
    let requests = |route: &str, status: &str| {
        page.value("typingd_http_requests_total", &[("route", route), ("status", status)]).unwrap()
    };
    assert_eq!((requests("signals", "2xx"), requests("signals", "4xx"), requests("signals", "5xx")), (2.0, 2.0, 0.0));
    assert_eq!((requests("unknown", "4xx"), requests("operation", "2xx")), (1.0, 1.0));
    assert_eq!(page.value("typingd_signals_malformed_total", &[]), Some(4.0));
    let opened = page.value("typingd_connections_opened_total", &[listener]).unwrap();
    assert!(opened >= 10.0, "{opened}");
    let failed = page.value("typingd_accept_failures_total", &[listener]);
    assert_eq!((page.value("typingd_connections_displaced_total", &[listener]), failed), (Some(0.0), Some(0.0)));
    assert_eq!(page.value("typingd_drop_in_under_way", &[]), None, "there is no drop-in");
}

#[test]
fn the_process_is_told_of() {
    let (_sandbox, daemon) = pair("");
    let page = page(&daemon);
    let value = |name: &str| page.value(&format!("process_{name}"), &[]).unwrap_or_else(|| panic!("no {name}"));
    assert!(value("resident_memory_bytes") > 1e6 && value("resident_memory_bytes") < value("virtual_memory_bytes"));
    assert!(value("threads") >= 2.0 && value("open_fds") >= 5.0 && value("open_fds") < value("max_fds"));
    assert!(value("cpu_seconds_total") > 0.0);
    let age = clock::wall_millis() as f64 / 1e3 - value("start_time_seconds");
    assert!((0.0..600.0).contains(&age), "{age}");
}

#[test]
fn what_passes_the_drop_in_is_counted() {
    let sandbox = Sandbox::start(&[]);
    let settings = "timing.dismiss_after = '1m'\ndrop_in.settle = '5s'";
    let daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", settings, |_| {});
    let connector = Connector::new(&daemon.address, "t0ken-of-the-connector");
    assert_eq!(connector.started("u").status, 202);
    sandbox.until_told("c", "u", "+");
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(connector.message("u").status, 202);
    let page = wait_for("nothing under way", || {
        let page = page(&daemon);
        (page.value("typingd_drop_in_under_way", &[]) == Some(0.0)).then_some(page)
    });
    let requests = |kind: &str| page.value("typingd_drop_in_requests_total", &[("kind", kind)]);
    assert_eq!(["started_taken", "message", "other"].map(requests), [Some(1.0), Some(2.0), Some(0.0)]);
    let messages = |icon: &str| page.value("typingd_drop_in_messages_total", &[("icon", icon)]);
    assert_eq!(["off", "settled", "late"].map(messages), [Some(1.0), Some(1.0), Some(0.0)]);
    assert_eq!(page.value("typingd_drop_in_unanswered_total", &[]), Some(0.0));
    let passed = [("route", "drop_in"), ("status", "2xx")];
    assert_eq!(page.value("typingd_http_requests_total", &passed), Some(3.0));
}

#[test]
fn a_configuration_that_was_wrong_can_be_seen() {
    let (_sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let reloaded = |page: &Page| page.value("typingd_configuration_last_reload_successful", &[]).unwrap();
    let read_at = |page: &Page| page.value("typingd_configuration_read_timestamp_seconds", &[]).unwrap();
    let start = page(&daemon);
    assert_eq!(reloaded(&start), 1.0);
    daemon.reconfigure(|text| text.replace("'1m'", "'soon'"));
    until("the failure", || reloaded(&page(&daemon)) == 0.0);
    assert_eq!(read_at(&page(&daemon)), read_at(&start), "the one in force is the first");
    daemon.reconfigure(|text| text.replace("'soon'", "'2m'"));
    until("the success", || reloaded(&page(&daemon)) == 1.0);
    assert!(read_at(&page(&daemon)) > read_at(&start));
}

#[test]
fn channels_without_end_do_not_make_series_without_end() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'");
    let (named, all) = (CHANNELS_OTHER_MAX, CHANNELS_OTHER_MAX + 30);
    let keys: Vec<_> = (0..all).map(|n| signal_of(&format!("c{n}"), "u", "keystroke")).collect();
    assert_eq!(daemon.post("/v1/signals", &keys.into()).json()["accepted"], all);
    until("all icons", || sandbox.shown() == all as u64);
    let channels = |page: &Page| -> BTreeSet<String> {
        page.0.iter().flat_map(|f| &f.samples).filter_map(|s| s.labels.get("channel").cloned()).collect()
    };
    let of = |page: &Page, channel: &str| {
        page.value("typingd_requests_total", &[("channel", channel), ("indicator", "TypingStarted")])
    };
    let page = wait_for("all answers", || {
        let page = page(&daemon);
        let requests: f64 = channels(&page).iter().filter_map(|channel| of(&page, channel)).sum();
        (requests == all as f64).then_some(page)
    });
    // These, the further ones together, and the timing of all.
    assert_eq!((channels(&page).len(), of(&page, "other")), (named + 2, Some(30.0)));
}

#[test]
fn what_salesforce_does_not_know_is_no_label() {
    // As where `to` and `from` are swapped.
    let sandbox = Sandbox::start(&["--channel", "support"]);
    let daemon = Daemon::start(&sandbox.address.url(), "timing.dismiss_after = '1m'");
    for n in 0..5 {
        daemon.give(&format!("+155501234{n}"), "support", "keystroke");
    }
    daemon.give("support", "+1555012349", "keystroke");
    sandbox.until_told("support", "+1555012349", "+");
    let requests = [("channel", "other"), ("indicator", "TypingStarted")];
    until("all are counted", || page(&daemon).value("typingd_requests_total", &requests) == Some(5.0));
    let text = daemon.address.get("/metrics").body;
    assert!(text.contains("channel=\"support\"") && !text.contains("+1555"), "{text}");
}

#[test]
fn readers_show_the_token_and_one_that_hangs_holds_nobody_up() {
    let sandbox = Sandbox::start(&[]);
    let auth = "upstream.auth.token_file = 'token'\ningest.token_file = 'callers'";
    let prepare = |dir: &tempfile::TempDir| std::fs::write(dir.path().join("callers"), "c4llers").unwrap();
    let mut daemon = Daemon::start_with(&sandbox.address.url(), auth, "", prepare);
    let token: Headers<'_> = &[("authorization", "Bearer c4llers")];
    assert_eq!(daemon.address.get("/metrics").status, 401);
    let many: Vec<_> = (0..CHANNELS_OTHER_MAX).map(|n| signal_of(&"x".repeat(100 + n), "u", "keystroke")).collect();
    let body = json!(many).to_string();
    let answer = daemon.address.call(
        "POST",
        "/v1/signals",
        &[token, &[("content-type", "application/json")]].concat(),
        body.as_bytes(),
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    let hanging: Vec<_> = (0..50)
        .map(|_| {
            let mut wire = daemon.address.connect().unwrap();
            wire.head("GET", "/metrics", token, "accept: */*");
            wire
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(daemon.address.get("/healthz").status, 200);
        get(&daemon, token);
    }
    daemon.process.stop();
    drop(hanging);
}

#[test]
fn messages_typed_into_another_typingd_are_counted() {
    let (sandbox, daemon) = pair("timing.dismiss_after = '1m'\nchannels.c.dismiss = 'idle'");
    let other = Daemon::start(&sandbox.address.url(), "channels.c.dismiss = 'idle'");
    let untyped = |daemon: &Daemon| page(daemon).value("typingd_untyped_messages_total", &[("channel", "c")]);
    // One user's signals in turn, and another's who stays.
    daemon.give("c", "ann", "keystroke");
    other.give("c", "ann", "message_sent");
    daemon.give("c", "bob", "keystroke");
    daemon.give("c", "bob", "message_sent");
    assert_eq!((untyped(&daemon), untyped(&other)), (Some(0.0), Some(1.0)));
}
