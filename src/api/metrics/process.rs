//! What the process takes of its machine, by the names that every dashboard knows.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::api::metrics::page::{NO_LABELS, Page};
use crate::api::metrics::proc::Process;

/// The numbers of one moment, and when the process began.
#[derive(Debug)]
pub(in crate::api) struct Machine {
    pub(in crate::api) process: Process,
    /// In Unix epoch milliseconds.
    pub(in crate::api) started_at: u64,
}

/// What every one of their names begins with.
pub(in crate::api) const PROCESS_PREFIX: &str = "process";

impl Collector for Machine {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        let Process { cpu, resident_bytes, virtual_bytes, threads, open_fds, max_fds } = self.process;
        if let Some(cpu) = cpu {
            let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
            page.seconds("cpu", "Processor time spent", [(NO_LABELS, micros)])?;
        }
        page.bytes("resident_memory", "Resident memory", resident_bytes)?;
        page.bytes("virtual_memory", "Virtual memory", virtual_bytes)?;
        page.known("threads", "Threads", threads)?;
        page.known("open_fds", "Open file descriptors", open_fds)?;
        page.known("max_fds", "File descriptors that may be open", max_fds)?;
        page.timestamp("start_time", "When the process started, since the Unix epoch", self.started_at)
    }
}
