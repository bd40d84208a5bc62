//! Every metric of the daemon: its name, its words, and where its numbers come from. A new one is one more call here, and
//! one more line in the manual, which a test asks for.
//!
//! The numbers are copies that the loop gave away: a slow reader disturbs no one.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::Page;
pub(super) use super::process::{Machine, PROCESS_PREFIX};
use crate::http::Traffic;
use crate::observe::snapshot::Snapshot;

/// All numbers of one moment.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) snapshot: Snapshot,
    pub(super) traffic: Traffic,
}

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.timing(&mut page)?;
        self.timing_in_force(&mut page)?;
        self.candidates(&mut page)?;
        self.signals(&mut page)?;
        self.delivery(&mut page)?;
        self.latency(&mut page)?;
        self.token(&mut page)?;
        self.conversations(&mut page)?;
        self.journal(&mut page)?;
        self.store(&mut page)?;
        self.http(&mut page)?;
        self.drop_in(&mut page)?;
        self.operation(&mut page)
    }
}

/// What every name begins with.
pub(super) const PREFIX: &str = "typingd";
