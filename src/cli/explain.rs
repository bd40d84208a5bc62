//! `typingd explain`: why the icon of a conversation is as it is, and what happens next.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::Value;

use super::client::{AnswerFormat, Remote, RemoteArgs};
use super::{Failure, block_on, tap};
use crate::base::text::printable;
use crate::model::ConversationRef;

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The channel address
    #[arg(value_name = "TO")]
    to: String,
    /// The end user's client identifier
    #[arg(value_name = "FROM")]
    from: String,
    #[command(flatten)]
    remote: RemoteArgs,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: AnswerFormat,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    ConversationRef::new(&args.to, &args.from)
        .map_err(|(field, error)| Failure::usage(vec![format!("{} {error}", field.to_uppercase())]))?;
    let remote = Remote::new(&args.remote)?;
    let request = remote.request(Method::GET, &["v1", "conversations"]);
    let request = request.query(&[("to", &args.to), ("from", &args.from)]);
    let (conversation, body) = block_on(remote.json(request))??;
    Ok(args.format.print(&conversation, &body, describe)?)
}

fn describe(conversation: &Value) -> String {
    let at = |path: &str| conversation.pointer(path).unwrap_or(&Value::Null);
    let text = |path: &str| printable(at(path).as_str().unwrap_or_default());
    let mut lines = format!("{}\n\n", text("/explanation"));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(lines, "{name:<13}{}", printable(value));
    };
    line("user", &text("/state").replace('_', " "));
    let icon = if at("/icon") == true { "on" } else { "off" };
    line("icon", &format!("should be {icon}; Salesforce has acknowledged: {}", text("/shown")));
    if let Some(ago) = at("/last_signal/ago_ms").as_f64() {
        line("last signal", &format!("{}, {} ago", text("/last_signal/signal"), seconds(ago)));
    }
    let next = DEADLINES.iter().filter_map(|(key, name)| {
        let left = at("/deadlines").get(key)?.as_f64()?;
        // What is off goes off no more.
        let name = if *name == OFF && at("/shown") == "off" { "typing ends in" } else { name };
        Some(format!("{name} {}", seconds(left)))
    });
    let next = next.collect::<Vec<_>>().join(", ");
    line("next", if next.is_empty() { "nothing is due" } else { &next });
    line(
        "timing",
        &format!(
            "check_interval {}, dismiss_after {}, dismiss {}, max_typing {}",
            text("/timing/check_interval"),
            text("/timing/dismiss_after"),
            text("/timing/dismiss"),
            text("/timing/max_typing")
        ),
    );
    let transitions = at("/transitions").as_array().map(Vec::as_slice).unwrap_or_default();
    if !transitions.is_empty() {
        lines.push_str("\nwhat happened, the latest last\n");
    }
    for happened in transitions.iter().filter_map(tap::transition) {
        let _ = writeln!(lines, "  {happened}");
    }
    lines
}

fn seconds(millis: f64) -> String {
    format!("{:.1} s", millis / 1_000.0)
}

const OFF: &str = "off in";

const DEADLINES: [(&str, &str); 5] = [
    ("check_in_ms", "check in"),
    ("dismiss_in_ms", OFF),
    ("max_typing_in_ms", "max_typing in"),
    ("retry_in_ms", "tried again in"),
    ("muted_for_ms", "muted for another"),
];
