//! Deliberate mistakes in what a node of a fleet does, and in what the store does.

use super::Mistake;

const STORE: &str = "../../tests/simulation/fleet_store.rs";

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "no look at the lease where the bytes leave",
        file: "../fleet/mod.rs",
        right: "tenure == self.tenure.number() && matches!(",
        wrong: "tenure == self.tenure.number() || !matches!(",
    },
    Mistake {
        name: "what is in doubt leaves",
        file: "../fleet/mod.rs",
        right: "self.tenure.state(now) != State::InDoubt",
        wrong: "self.tenure.state(now) != State::InDoubt || !self.left",
    },
    Mistake {
        name: "a Started for what is only remembered leaves unrecorded",
        file: "../fleet/mod.rs",
        right: "(state == State::Tenured && holding.on)",
        wrong: "state == State::Tenured",
    },
    Mistake {
        name: "a Started that waits leaves after the message",
        file: "../fleet/mod.rs",
        right: "if signal.kind != SignalKind::Keystroke\n                && let",
        wrong: "if signal.kind == SignalKind::Opened\n                && let",
    },
    Mistake {
        name: "what another owner must know is not posted",
        file: "../fleet/mod.rs",
        right: "        if maybe_on {",
        wrong: "        if maybe_on && self.leaving {",
    },
    Mistake {
        name: "what was in flight when it was lost is not posted",
        file: "../fleet/mod.rs",
        right: "        if in_flight {",
        wrong: "        if in_flight && self.leaving {",
    },
    Mistake {
        name: "a node leaves with an icon on",
        file: "../fleet/requests.rs",
        right: "(self.leaving && self.holdings.is_empty() && ",
        wrong: "(self.leaving && ",
    },
    Mistake {
        name: "a rejoin without claims",
        file: "../fleet/answers.rs",
        right: "self.claims = self.holdings.keys().cloned().collect();",
        wrong: "self.claims.clear();",
    },
    Mistake {
        name: "a lost answer without a rejoin",
        file: "../fleet/answers.rs",
        right: "        self.reclaims = true;",
        wrong: "        self.reclaims = false;",
    },
    Mistake {
        name: "a signal that is posted once more goes behind the next",
        file: "../fleet/answers.rs",
        right: "self.queue.put_back(again);",
        wrong: "self.queue.put_back(again.into_iter().rev().collect());",
    },
    Mistake {
        name: "a key that waited while the clock stood still counts",
        file: "../fleet/answers.rs",
        right: "        self.counts.stale += self.queue.drop_keystrokes();\n",
        wrong: "",
    },
    Mistake {
        name: "stale keys are replayed",
        file: "../fleet/answers.rs",
        right: "if u128::from(age) > FRESH_MAX.as_millis() {",
        wrong: "if u128::from(age) > FRESH_MAX.as_millis() * 1_000 {",
    },
    Mistake {
        name: "what is found as one's own with its icon on is given up",
        file: "../fleet/answers.rs",
        right: "        if value.on {",
        wrong: "        if value.on && self.leaving {",
    },
    Mistake {
        name: "one Stopped is taken for enough",
        file: "../fleet/answers.rs",
        right: "let suspect_until = now + self.settings.request_timeout;",
        wrong: "let suspect_until = now;",
    },
    Mistake {
        name: "the lease counts from the answer",
        file: "../fleet/tenure.rs",
        right: "self.lease_until = sent + self.store_lease",
        wrong: "let _ = sent;\n        self.lease_until = now + self.store_lease",
    },
    Mistake {
        name: "a process that was stopped takes the store for silent",
        file: "../fleet/tenure.rs",
        right: "self.doubt_since.filter(|_| !paused).unwrap_or(now)",
        wrong: "self.doubt_since.filter(|_| !paused || true).unwrap_or(now)",
    },
    Mistake {
        name: "a share is reported before it is in force",
        file: "../fleet/share.rs",
        right: "        self.in_force = hold;\n",
        wrong: "",
    },
    Mistake {
        name: "the reaper acts at the very lapse",
        file: "../fleet/sweep.rs",
        right: "const GRACE: Duration = Duration::from_millis(300);",
        wrong: "const GRACE: Duration = Duration::from_millis(0);",
    },
    Mistake {
        name: "the living are reaped",
        file: STORE,
        right: "if self.is_alive(now, dead) || !self.is_alive(now, me) {",
        wrong: "if !self.is_alive(now, me) {",
    },
    Mistake {
        name: "an icon that was left on long ago by the store's clock alone is owed nothing",
        file: STORE,
        right: "let owed = recent || ",
        wrong: "let owed = ",
    },
    Mistake {
        name: "a lapsed owner goes on writing",
        file: STORE,
        right: "if !self.is_alive(now, me) {\n            return vec!",
        wrong: "if ops.is_empty() {\n            return vec!",
    },
    Mistake {
        name: "a request that comes late is executed",
        file: STORE,
        right: "|last| request.number <= *last",
        wrong: "|last| request.number < *last / 2",
    },
    Mistake {
        name: "a release without a compare",
        file: STORE,
        right: "match value.filter(|value| value.owner == seen) {",
        wrong: "match value.filter(|value| value.owner == seen || true) {",
    },
    Mistake {
        name: "a release in spite of a stray",
        file: STORE,
        right: "Some(value) if value.strays != strays && value.owner == me => Answer::Stray(value.strays),",
        wrong: "Some(value) if value.strays > strays + 9 && value.owner == me => Answer::Stray(value.strays),",
    },
    Mistake {
        name: "a dim in spite of a stray",
        file: STORE,
        right: "(Some(value), _) if value.strays != strays => Answer::Stray(value.strays),",
        wrong: "(Some(value), _) if value.strays > strays + 9 => Answer::Stray(value.strays),",
    },
    Mistake {
        name: "a key of one's own does not set what is on",
        file: STORE,
        right: "Some(value) if value.owner == me => (Value { on: value.on || on, ..*value }, Answer::Mine),",
        wrong: "Some(value) if value.owner == me => (*value, Answer::Mine),",
    },
    Mistake {
        name: "the dead live for an hour after the store's clock went back",
        file: STORE,
        right: "*until = (*until).min(now + lease);",
        wrong: "*until = (*until).max(now + lease - lease);",
    },
    Mistake {
        name: "a share stays small for an hour after the store's clock went back",
        file: STORE,
        right: "self.settles_at = self.settles_at.map(|at| at.min(now + 2 * lease_millis));",
        wrong: "self.settles_at = self.settles_at.map(|at| at.max(2 * lease_millis));",
    },
    Mistake {
        name: "a message at a node that has lost its conversation is forgotten",
        file: "../fleet/answers.rs",
        right: "if let Some((signal, arrived)) = holding.untold {",
        wrong: "if let Some((signal, arrived)) = holding.untold.filter(|_| false) {",
    },
    Mistake {
        name: "shares grow while a lost store is told again",
        file: STORE,
        right: "want = want.min(heartbeat.hold);",
        wrong: "want = want.max(heartbeat.hold);",
    },
    Mistake {
        name: "the share of one that is cut off is given away",
        file: STORE,
        right: "(share.requests, now + RESERVED_MILLIS)",
        wrong: "(share.requests, now)",
    },
];
