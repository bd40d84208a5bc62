//! State: conversations, the token, the journal, the daemon itself.

use std::fmt::Error;

use crate::api::metrics::families::Numbers;
use crate::api::metrics::page::Page;
use crate::base::build_info::{COMMIT, VERSION};
use crate::fleet::State;
use crate::observe::snapshot::{JournalState, TokenState};
use crate::telemetry;

impl Numbers {
    pub(super) fn token(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let token = &self.snapshot.runtime.token;
        page.gauges(
            "token_state",
            "1 for the state that the token is in, 0 for the others",
            TokenState::ALL.map(|state| ([("state", state.name())], u32::from(state == token.state))),
        )?;
        page.counter("token_refreshes", "Tokens obtained", token.obtained)?;
        page.counter("token_failures", "Attempts to obtain a token that brought none", token.failures)?;
        page.counter("token_refusals", "Tokens that Salesforce did not take", token.refusals)?;
        page.span("token_age", "How long ago the token in hand was obtained", token.age)?;
        page.span("token_expires_in", "How long the token in hand is good for, if that is known", token.expires_in)
    }

    pub(super) fn conversations(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let census = &self.snapshot.census;
        page.gauge("conversations", "Conversations in memory", census.conversations)?;
        page.gauge("conversations_max", "Conversations that may be in memory", self.snapshot.conversations_max)?;
        page.gauge("conversations_lingering", "Conversations that are over and only remembered", census.retained)?;
        page.gauge(
            "conversations_unsettled",
            "Conversations whose icon may be on by what Salesforce has acknowledged, or that have something to send",
            census.unsettled,
        )?;
        page.gauge("channels", "Channels in memory", census.channels)?;
        page.gauge("icons", "Icons that should be on", census.icons)
    }

    pub(super) fn journal(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let journal = self.snapshot.journal.unwrap_or_default();
        let state = self.snapshot.journal_state();
        page.gauge(
            "journal_degraded",
            "1 if the journal can't be written, so that a crash may leave icons on",
            u32::from(state == JournalState::Degraded),
        )?;
        page.bytes("journal", "Bytes in the journal's file", Some(journal.bytes))?;
        page.counter("journal_records", "Records written to the journal", journal.records)?;
        page.counter("journal_writes_failed", "Writes to the journal that failed", journal.writes_failed)
    }

    /// All zero without a store.
    pub(super) fn store(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let store = self.snapshot.store.as_ref();
        let counts = store.map(|store| store.counts).unwrap_or_default();
        let is_in = |state| u32::from(store.is_some_and(|store| store.state == state));
        page.gauge("store_up", "1 if the store answered the last request", u32::from(store.is_some_and(|it| it.up)))?;
        page.gauges(
            "store_state",
            "1 for what this typingd may do by its lease, 0 for the others; all 0 without a store",
            State::ALL.map(|state| ([("state", state.name())], is_in(state))),
        )?;
        page.gauge(
            "store_members",
            "Typingd that share the store and are alive, as it said last",
            store.map_or(0, |it| it.members),
        )?;
        page.gauge("conversations_owned", "Conversations that are this one's", store.map_or(0, |it| it.owned))?;
        page.gauge("rate_share", "Requests a second that are this one's", store.map_or(0, |it| it.share))?;
        page.counter(
            "signals_posted",
            "Signals that went to another typingd, their conversation's owner",
            counts.posted,
        )?;
        page.counter("mail", "Signals of other typingd that were taken", counts.received)?;
        page.counter("mail_stale", "Keystrokes that were too old when they could have counted", counts.stale)?;
        page.counter("signals_dropped", "Signals that no typingd took", counts.dropped)?;
        page.counters(
            "conversations_taken",
            "Conversations of typingd that had died, taken over with a signal (key), or with no one typing (reaped)",
            [([("how", "key")], counts.taken), ([("how", "reaped")], counts.reaped)],
        )?;
        page.counter("conversations_lost", "Conversations that another typingd has taken over", counts.lost)?;
        page.counter("strays", "Owners told that this one may have switched an icon on without them", counts.strays)?;
        page.counter("starteds_held_back", "TypingStarteds that waited for the store, or never left", counts.withheld)
    }

    pub(super) fn operation(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let ready = !self.snapshot.stopping && self.snapshot.not_ready.is_none();
        page.gauge("ready", "1 if indicators can be delivered, as readyz says", u32::from(ready))?;
        page.gauge("recording", "1 if a client records the signals", u32::from(self.snapshot.recording))?;
        let configuration = &self.snapshot.runtime.configuration;
        page.timestamp(
            "configuration_read_timestamp",
            "When the configuration in force was read",
            configuration.read_at,
        )?;
        page.gauge(
            "configuration_last_reload_successful",
            "0 if the configuration was wrong when it was last read again, and an older one is in force",
            u32::from(configuration.last_reload.is_none_or(|reload| reload.ok)),
        )?;
        page.counter(
            "log_lines_dropped",
            "Lines of the log that were dropped, because its reader did not read",
            telemetry::dropped(),
        )?;
        page.gauges(
            "build_info",
            "What was built: its version, and the commit if it is known",
            [([("version", VERSION), ("commit", COMMIT.unwrap_or_default())], 1)],
        )
    }
}
