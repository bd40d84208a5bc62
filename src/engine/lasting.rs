//! Typing that is reported seldom: one keystroke that counts for a while.

use std::time::Duration;

use super::{Engine, Taken, TurnedAway};
use crate::model::{ConversationRef, Instant, Signal, SignalKind};

impl Engine {
    /// A keystroke arrived at `now` from somebody who reports them no more often than once in `lasts`: until then the
    /// user counts as typing, checks refresh the icon, and `dismiss_after` runs from the end of that. A message or
    /// another end of the typing ends it at once.
    ///
    /// # Errors
    /// As [`Engine::handle_signal`].
    pub fn handle_typing(
        &mut self,
        now: Instant,
        conversation: ConversationRef<'_>,
        lasts: Duration,
    ) -> Result<Taken, TurnedAway> {
        let taken = self.handle_signal(now, conversation, Signal { kind: SignalKind::Keystroke, at: None })?;
        if taken == Taken::Counts
            && let Some(slot) = self.tracker.find(conversation)
        {
            self.tracker.state_mut(slot).0.timing.prolong(now, lasts);
            self.settle(now, slot);
        }
        Ok(taken)
    }
}
