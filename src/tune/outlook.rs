//! What a setting will do before there is any recording, and what would be advised: measured on made-up typists.

use super::plan::{IconTtl, Plan, Setting};
use super::row::Row;
use super::study::Study;
use super::table::{number, people, percent, seconds};
use super::typist;
use crate::engine::policy::{Mode, Rules};
use crate::signals::trace::TraceReader;

/// Enough people and messages for stable figures, and few enough to be quick.
const USERS: usize = 200;
const MESSAGES: usize = 20;
const SEED: u64 = 42;

/// What is tried beside what is in force: a few times of each kind.
const CHECKS_MILLIS: [u64; 5] = [1_000, 2_000, 5_000, 10_000, 15_000];
const DISMISSALS_MILLIS: [u64; 5] = [1_000, 2_000, 3_000, 5_000, 8_000];
/// So many settings get an advice each; the others a sentence.
const ADVISED_MAX: usize = 4;

/// A sentence on the timing of each scope, and one of advice on each of the settings in force. `limit` is the requests a
/// second that the org takes. Each says that the typists are made up.
pub(crate) fn outlook(scopes: &[(String, Rules)], limit: f64) -> Vec<String> {
    let text = typist::trace(USERS, MESSAGES, SEED);
    let trace = TraceReader::new("made-up typists", std::io::Cursor::new(text));
    let study = Study::read([trace]).expect("what the typist writes can be read");
    let settings: Vec<Setting> = scopes.iter().map(|(_, rules)| Setting::of(rules)).collect();
    let mut told = Vec::new();
    let mut advised: Vec<Setting> = Vec::new();
    let mut grid: Vec<Setting> = settings.clone();
    for mode in [Mode::Idle, Mode::AfterShown] {
        let checks = CHECKS_MILLIS.iter();
        grid.extend(checks.flat_map(|check| DISMISSALS_MILLIS.map(|dismiss| Setting { mode, check: *check, dismiss })));
    }
    grid.sort();
    grid.dedup();
    let plan = Plan { grid, limit, icon_ttl: IconTtl::Never, by_channel: false, ..Plan::new(&Rules::default()) };
    let mut measured: Option<super::Report> = None;
    for ((scope, _), setting) in scopes.iter().zip(&settings) {
        if !advised.contains(setting) && advised.len() < ADVISED_MAX {
            advised.push(*setting);
            measured =
                Some(super::tune(study.clone(), &Plan { current: *setting, ..plan.clone() }, usize::MAX, &|| {}));
            if let Some(report) = &measured {
                told.extend(report.row(*setting).map(|row| format!("{scope}: {}", sentence(row))));
                told.push(format!("{scope}: {}", advice(report)));
            }
        } else if let Some(row) = measured.as_ref().and_then(|report| report.row(*setting)) {
            told.push(format!("{scope}: {}", sentence(row)));
        }
    }
    told
}

fn sentence(row: &Row) -> String {
    format!(
        "{} on made-up typists: recall {}, flicker {}/msg, {} of its stops too early, off p95 {}, {} req/min; with \
         their pauses, room for {} who compose at a time",
        row.setting,
        percent(row.recall.value, 0),
        number(row.flicker_per_msg.value, 1),
        percent(row.wrong_stop.value, 0),
        seconds(row.off.p95),
        number(row.req_per_min.value, 1),
        people(row.safe_composers),
    )
}

/// What would be advised if the made-up typists were the users.
fn advice(report: &super::Report) -> String {
    let (now, decision) = (report.current.setting, &report.decision);
    let caution = "on made-up typists, if the agent console keeps icons; record your own users";
    match (decision.advice, decision.gain) {
        (Some(advice), Some(gain)) => format!(
            "advice before data: change from {now} to {advice}, which saves {:.1} to {:.1} s missed, and false by its \
             weight, in each minute of typing ({caution})",
            gain.cost[0], gain.cost[1]
        ),
        _ => format!("advice before data: keep {now} ({caution})"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rules(mode: Mode, check: u64, dismiss: u64) -> Rules {
        Rules::new(mode, Duration::from_secs(check), Duration::from_secs(dismiss), Duration::from_secs(300))
    }

    #[test]
    fn the_sample_blinks_and_the_default_does_better() {
        let scopes = [
            ("timing".to_owned(), rules(Mode::Idle, 5, 2)),
            ("a".to_owned(), rules(Mode::AfterShown, 5, 2)),
            ("b".to_owned(), rules(Mode::Idle, 5, 2)),
        ];
        let told = outlook(&scopes, 2_000.0);
        let [default, keep, sample, change, again] = &told[..] else { panic!("{told:?}") };
        assert!(default.starts_with("timing: idle 5s/2s on made-up typists: recall 8"), "{default}");
        assert!(keep.starts_with("timing: advice before data: keep idle 5s/2s (on made-up typists"), "{keep}");
        assert!(sample.starts_with("a: after_shown 5s/2s on made-up typists: recall 4"), "{sample}");
        assert!(change.starts_with("a: advice before data: change from after_shown 5s/2s to "), "{change}");
        assert!(again.starts_with("b: idle 5s/2s on made-up typists"), "{again}");
    }

    #[test]
    fn advice_before_data_is_against_long_icons_and_rare_checks() {
        let told = outlook(&[("timing".to_owned(), rules(Mode::AfterShown, 30, 20))], 2_000.0);
        assert!(told[1].contains("change from after_shown 30s/20s to "), "{told:?}");
        let told = outlook(&[("timing".to_owned(), rules(Mode::Idle, 5, 20))], 2_000.0);
        assert!(told[1].contains("change from idle 5s/20s to idle 5s/"), "{told:?}");
    }
}
