//! A report as JSON: the same bytes for the same traces and options. What is undefined is null, never 0.

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::confidence::Interval;
use super::decision::{Decision, Gain};
use super::plan::{IconTtl, Plan, Setting};
use super::row::{Estimate, Quantiles, Row};
use super::{Channel, LAMBDAS, Report};

/// The version of this format.
const SCHEMA: u32 = 1;

/// The whole report.
pub fn report(report: &Report) -> Value {
    let plan = &report.plan;
    let inputs: Vec<_> = report
        .inputs
        .iter()
        .map(|input| {
            json!({
                "path": input.name, "sha256": input.sha256, "conversations": input.conversations, "keys": input.keys,
            })
        })
        .collect();
    let silence = |(millis, p): &(u64, Option<f64>)| json!({"silence_ms": millis, "p": rounded(*p)});
    let curve = report.silences.curve(plan.truth.away);
    let break_even = LAMBDAS.map(|lambda| (lambda.to_string(), report.silences.break_even(f64::from(lambda)).into()));
    let nearest = report.nearest.as_ref().map(|(place, failed)| {
        let failed: Vec<_> = failed.iter().map(|want| plan.wants[*want].to_string()).collect();
        json!({"row": setting(&report.rows[*place].setting), "fails": failed})
    });
    let (typed, decision) = (&report.typed, &report.decision);
    json!({
        "schema": SCHEMA,
        "tool": concat!("typingd ", env!("CARGO_PKG_VERSION")),
        "config_hash": config_hash(plan),
        "inputs": inputs,
        "params": params(plan),
        "study": {
            "users": report.study.users,
            "users_measured": report.sampled.unwrap_or(report.study.users),
            "conversations": report.study.timelines.len(),
            "keys": report.study.keys(),
            "messages": typed.messages as u64,
            "sent": typed.sent as u64,
            "abandoned": typed.abandoned as u64,
            "composing_ms": typed.composing as u64,
            "duty": rounded(report.duty),
        },
        "verdict": decision.verdict.name(),
        "why": decision.why,
        "advice": decision.advice.as_ref().map(setting),
        "if": conditions(decision),
        "away": aways(decision),
        "gain": decision.gain.as_ref().map(gain),
        "linger_max_ms": decision.linger_max,
        "peak": decision.peak,
        "channels": channels(report),
        "current": row(&report.current),
        "best": report.best().filter(|_| report.decides()).map(|best| setting(&best.setting)),
        "keep": report.keeps(),
        "ranking": report.ranking.iter().map(|place| setting(&report.rows[*place].setting)).collect::<Vec<_>>(),
        "nearest": nearest,
        "ceiling": ceiling(report),
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "resume_curve": curve.iter().map(silence).collect::<Vec<_>>(),
        "break_even_ms": Map::from_iter(break_even),
        "users": users(&report.current),
        "warnings": report.warnings,
    })
}

/// What is the best with one receiver each.
fn conditions(decision: &Decision) -> Value {
    let of = |(icon_ttl, advice): &(Option<u64>, Option<Setting>)| json!({"icon_ttl_ms": icon_ttl, "advice": advice.as_ref().map(setting)});
    decision.conditions.iter().map(of).collect()
}

/// What is the best with one silence for away each.
fn aways(decision: &Decision) -> Value {
    let of = |(away, advice): &(u64, Option<Setting>)| json!({"away_ms": away, "advice": advice.as_ref().map(setting)});
    decision.away.iter().map(of).collect()
}

/// The verdicts on single channels, by their names; null where there is only one.
fn channels(report: &Report) -> Value {
    let of = |channel: &Channel| {
        let decision = &channel.decision;
        let value = json!({
            "users": channel.users,
            "messages": channel.messages,
            "verdict": decision.verdict.name(),
            "why": decision.why,
            "advice": decision.advice.as_ref().map(setting),
            "if": conditions(decision),
            "gain": decision.gain.as_ref().map(gain),
            "peak": decision.peak,
            "current": row(&channel.current),
            "best": channel.best.as_ref().map(row),
        });
        (channel.name.to_string(), value)
    };
    if report.channels.is_empty() { Value::Null } else { Value::Object(report.channels.iter().map(of).collect()) }
}

fn gain(gain: &Gain) -> Value {
    let of = |interval: Interval| interval.map(|bound| rounded(Some(bound)));
    json!({
        "cost": of(gain.cost),
        "on_while_typing": of(gain.on_while_typing),
        "requests": of(gain.requests),
    })
}

/// What perfect foresight would reach.
fn ceiling(report: &Report) -> Value {
    let typed = &report.typed;
    let best = |of: f64, value: u64| (of > 0.0).then_some(value);
    json!({
        "recall": best(typed.composing, 1),
        "false_on": best(typed.composing, 0),
        "flicker_per_msg": best(typed.counted, 0),
        "off_early": best(typed.sent, 0),
        "off_p95_ms": best(typed.abandoned, 0),
        "req_per_min": rounded(report.ceiling_req_per_min),
    })
}

/// One setting, measured.
pub fn row(row: &Row) -> Value {
    let mut all = Map::new();
    let Value::Object(setting) = setting(&row.setting) else { unreachable!("a setting is an object") };
    all.extend(setting);
    all.insert("cost".into(), rounded(row.worst().and_then(|worst| worst.cost)));
    all.insert("started".into(), row.started.into());
    all.insert("stopped".into(), row.stopped.into());
    for (name, estimate) in [
        ("req_per_min", &row.req_per_min),
        ("req_per_msg", &row.req_per_msg),
        ("recall", &row.recall),
        ("false_on", &row.false_on),
        ("false_on_s_per_abandoned", &row.false_on_per_abandoned),
        ("flicker_per_msg", &row.flicker_per_msg),
        ("flicker_per_min", &row.flicker_per_min),
        ("off_early", &row.off_early),
        ("wrong_stop", &row.wrong_stop),
    ] {
        all.insert(name.into(), rounded(estimate.value));
        all.insert(format!("{name}_ci"), interval(estimate));
    }
    all.insert("started_per_min".into(), rounded(row.started_per_min));
    all.insert("users".into(), users(row));
    all.insert("off_ms".into(), quantiles(&row.off));
    all.insert("on_ms".into(), quantiles(&row.on));
    let wait = json!({
        "mean": row.late_wait.value.map(|mean| mean.round() as u64),
        "mean_ci": row.late_wait.ci.map(|ci| ci.map(|bound| bound.round() as u64)),
        "p99": row.late_wait_p99,
    });
    all.insert("late_wait_ms".into(), wait);
    all.insert("safe_composers".into(), row.safe_composers.into());
    all.insert("safe_conversations".into(), row.safe_conversations.into());
    all.insert("icon_dropped".into(), row.dropped.as_deref().map_or(Value::Null, dropped));
    all.insert("pareto".into(), row.pareto.into());
    all.insert("meets".into(), row.meets.into());
    all.insert("chance".into(), rounded(row.chance));
    Value::Object(all)
}

fn dropped(row: &Row) -> Value {
    json!({
        "icon_ttl_ms": IconTtl::Unknown.second(),
        "recall": rounded(row.recall.value),
        "false_on": rounded(row.false_on.value),
        "flicker_per_msg": rounded(row.flicker_per_msg.value),
        "off_early": rounded(row.off_early.value),
        "off_ms": quantiles(&row.off),
    })
}

fn setting(setting: &Setting) -> Value {
    json!({"mode": setting.mode.name(), "check_ms": setting.check, "dismiss_ms": setting.dismiss})
}

fn users(row: &Row) -> Value {
    let users = &row.users;
    json!({"p10": rounded(users.p10), "p50": rounded(users.p50), "p90": rounded(users.p90)})
}

fn quantiles(delays: &Quantiles) -> Value {
    let interval = |ci: Option<[f64; 2]>| ci.map(|ci| ci.map(|bound| bound as u64));
    json!({
        "p50": delays.p50, "p95": delays.p95, "max": delays.max, "n": delays.n,
        "p50_ci": interval(delays.p50_ci), "p95_ci": interval(delays.p95_ci),
    })
}

fn interval(estimate: &Estimate) -> Value {
    estimate.ci.map_or(Value::Null, |ci| ci.map(|bound| rounded(Some(bound))).to_vec().into())
}

/// Six digits after the point are more than any of these is known to.
fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| ((value * 1e6).round() / 1e6).into())
}

/// What was asked.
pub(super) fn params(plan: &Plan) -> Value {
    json!({
        "away_ms": plan.truth.away,
        "abandon": plan.abandon,
        "seed": plan.seed,
        "icon_ttl_ms": plan.icon_ttl.first(),
        "icon_ttl_known": plan.icon_ttl != IconTtl::Unknown,
        "latency_ms": plan.link.latency,
        "loss": plan.link.loss,
        "truth": plan.truth.kind.name(),
        "limit_per_s": plan.limit,
        "false_cost": plan.false_cost,
        "peak": plan.peak,
        "share": plan.share,
        "to": plan.to,
        "by_channel": plan.by_channel,
        "max_typing_ms": plan.max_typing.as_millis() as u64,
        "want": plan.wants.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "minimise": plan.minimise.name(),
        "settings": plan.grid.len(),
    })
}

/// Equal if two results were asked for in the same way: SHA-256 of the options, the grid and the setting in force.
fn config_hash(plan: &Plan) -> String {
    let settings: Vec<_> = plan.grid.iter().map(setting).collect();
    let mut asked = json!({"params": params(plan), "current": setting(&plan.current), "grid": settings});
    let mut own: Vec<_> = plan.channels.iter().map(|(to, rules)| json!([to, setting(&Setting::of(rules))])).collect();
    if !own.is_empty() {
        own.sort_by_key(Value::to_string);
        asked["channels"] = own.into();
    }
    let hash = digest::digest(&digest::SHA256, asked.to_string().as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
