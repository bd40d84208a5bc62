//! `typingd timing --try`: candidate timings, measured beside the one in force; and what was measured, for people.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use super::client::Remote;
use super::{Failure, block_on};
use crate::base::duration::Written;
use crate::base::text::printable;
use crate::observe::typing::AWAY;
use crate::observe::typing::candidates::report::{CandidateReport, ChannelReport, Measured};
use crate::tune::plan::Setting;

/// Lets the daemon measure `timings`, or none of them if the one word is `none`.
pub(super) fn measure(remote: &Remote, timings: &[String], as_json: bool) -> Result<(), Failure> {
    let timings = if timings == ["none"] { &[] } else { timings };
    let wrong = timings.iter().filter_map(|text| {
        let error = text.parse::<Setting>().err()?;
        Some(format!("--try {text:?}: {error}; the one word none ends the measuring"))
    });
    let wrong: Vec<_> = wrong.collect();
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong));
    }
    let request = remote.request(Method::PUT, &["v1", "timing", "candidates"]);
    let request = request.header(CONTENT_TYPE, "application/json").body(json!(timings).to_string());
    let (_, body) = block_on(remote.json(request))??;
    let mut stdout = io::stdout().lock();
    if as_json {
        writeln!(stdout, "{body}")?;
    } else if timings.is_empty() {
        writeln!(stdout, "no candidates are measured any more")?;
    } else {
        writeln!(
            stdout,
            "{} {} measured beside the timing in force; nothing of it is sent\n`typingd timing` shows what has been measured",
            timings.join(", "),
            if timings.len() == 1 { "is" } else { "are" }
        )?;
    }
    stdout.flush()?;
    Ok(())
}

/// What was measured, of the channel `to` or of all, at `now` in Unix epoch milliseconds.
pub(super) fn describe(report: &CandidateReport, to: Option<&str>, now: u64) -> String {
    let mut text = String::from("\n");
    let ago = |since: u64| Written(Duration::from_secs(now.saturating_sub(since) / 1_000));
    let _ = writeln!(text, "measured beside it for {}: {}", ago(report.since), printable(&report.timings.join(", ")));
    let mut channels = report.channels.iter().filter(|(name, _)| to.is_none_or(|to| to == *name)).peekable();
    if channels.peek().is_none() {
        text.push_str("  no one has typed since\n");
    }
    for (name, channel) in channels {
        let typing = Written(Duration::from_secs(channel.composing_s as u64));
        let _ = writeln!(text, "\nchannel {name:?}, {typing} of typing in {}", ago(channel.since));
        if channel.composing_s <= 0.0 && channel.in_force.false_s <= 0.0 {
            let away = Written(AWAY);
            let _ = writeln!(
                text,
                "  nothing to compare yet: typing counts when its message is sent, or {away} after the last key"
            );
            continue;
        }
        let _ = writeln!(
            text,
            "  {:<30}{:>9}{:>10}{:>9}{:>10}{:>10}",
            "timing", "on while", "for no", "flicker", "stops too", "requests"
        );
        let _ = writeln!(text, "  {:<30}{:>9}{:>10}{:>9}{:>10}{:>10}", "", "typing", "one", "", "early", "a minute");
        row(channel, &channel.in_force, " (in force)", &mut text);
        channel.candidates.iter().for_each(|candidate| row(channel, candidate, "", &mut text));
        for compared in channel.candidates.iter().filter_map(|candidate| channel.compared(candidate)) {
            let _ = writeln!(text, "  {}", printable(&compared));
        }
    }
    text
}

fn row(channel: &ChannelReport, timing: &Measured, note: &str, text: &mut String) {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let share = or_none(channel.on_while_typing(timing).map(|share| format!("{:.1} %", 100.0 * share)));
    let too_early = (timing.timer_stops > 0).then(|| timing.stops_too_early as f64 / timing.timer_stops as f64);
    let too_early = or_none(too_early.map(|share| format!("{:.0} %", 100.0 * share)));
    let requests = or_none(channel.per_minute(timing.requests as f64).map(|requests| format!("{requests:.1}")));
    let name = format!("{}{note}", printable(&timing.timing));
    let _ = writeln!(
        text,
        "  {name:<30}{share:>9}{:>10}{:>9}{too_early:>10}{requests:>10}",
        format!("{:.1} s", timing.false_s),
        timing.flicker
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_typing_counts_the_table_says_when_it_will() {
        let timing = |timing: &str| Measured { timing: timing.into(), ..Measured::default() };
        let (in_force, candidates) = (timing("idle 5s/2s"), vec![timing("idle 10s/5s")]);
        let channel = ChannelReport { since: 0, composing_s: 0.0, in_force, candidates };
        let channels = [("support".to_owned(), channel)].into();
        let report = CandidateReport { timings: vec!["idle 10s/5s".into()], since: 0, channels };
        let said = describe(&report, None, 6_000);
        let when = "  nothing to compare yet: typing counts when its message is sent, or 30s after the last key\n";
        assert!(said.ends_with(when), "{said}");
    }
}
