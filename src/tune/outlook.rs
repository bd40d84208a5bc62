//! What a setting will do before there is any recording: measured on made-up typists.

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

/// A setting to begin with without recordings.
const SUGGESTED: Setting = Setting { mode: Mode::Idle, check: 10_000, dismiss: 5_000 };

/// A sentence on the timing of each scope, and one on a suggestion to compare with. `limit` is the requests a second
/// that the org takes. Each says that the typists are made up.
pub(crate) fn outlook(scopes: &[(String, Rules)], limit: f64) -> Vec<String> {
    let text = typist::trace(USERS, MESSAGES, SEED);
    let trace = TraceReader::new("made-up typists", std::io::Cursor::new(text));
    let study = Study::read([trace]).expect("what the typist writes can be read");
    let settings: Vec<Setting> = scopes.iter().map(|(_, rules)| Setting::of(rules)).collect();
    let mut grid = settings.clone();
    grid.sort();
    grid.dedup();
    let plan = Plan { grid, wants: Vec::new(), limit, icon_ttl: IconTtl::Never, ..Plan::new(&Rules::default()) };
    let report = super::tune(study, &Plan { current: SUGGESTED, ..plan }, usize::MAX, &|| {});
    let of = |scope: &String, setting: &Setting| report.row(*setting).map(|row| format!("{scope}: {}", sentence(row)));
    let mut told: Vec<String> =
        scopes.iter().zip(&settings).filter_map(|((scope, _), setting)| of(scope, setting)).collect();
    if !settings.contains(&SUGGESTED) {
        told.push(format!("for comparison: {}", sentence(&report.current)));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sample_blinks_and_the_default_does_better() {
        let rules = |mode| Rules::new(mode, Duration::from_secs(5), Duration::from_secs(2), Duration::from_secs(300));
        let scopes = [("timing".to_owned(), rules(Mode::Idle)), ("a".to_owned(), rules(Mode::AfterShown))];
        let told = outlook(&scopes, 2_000.0);
        let [default, sample, suggestion] = &told[..] else { panic!("{told:?}") };
        assert!(default.starts_with("timing: idle 5s/2s on made-up typists: recall 8"), "{default}");
        assert!(sample.starts_with("a: after_shown 5s/2s on made-up typists: recall 4"), "{sample}");
        assert!(suggestion.starts_with("for comparison: idle 10s/5s on made-up typists: recall 8"), "{suggestion}");
    }
}
