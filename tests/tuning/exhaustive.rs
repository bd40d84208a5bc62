//! Every trace of up to five events over a few moments: what neither people nor chance think of.

use typingd::engine::policy::Mode;
use typingd::tune::plan::Setting;

use crate::brute::{Lens, Truth};
use crate::compare::{compare, plan, setting};
use crate::traces::{Kind, Line, one, text};

/// With the times of the settings below, keys fall just before, upon and after checks, dismissals and `away`.
const MOMENTS: [u64; 4] = [0, 2, 3, 7];
const AWAY: u64 = 4;
const EVENTS_MAX: usize = 5;

fn settings() -> Vec<Setting> {
    let times = [(2, 3), (3, 3), (3, 2)];
    let both = |(check, dismiss)| [Mode::Idle, Mode::AfterShown].map(|mode| setting(mode, check, dismiss));
    times.into_iter().flat_map(both).collect()
}

/// Every trace that goes on from `begun`, with `begun` itself.
fn all(begun: &mut Vec<(u64, Kind)>, kinds: [Kind; 3], visit: &mut impl FnMut(&[(u64, Kind)])) {
    visit(begun);
    if begun.len() == EVENTS_MAX {
        return;
    }
    let from = begun.last().map_or(0, |(at, _)| *at);
    for at in MOMENTS.into_iter().filter(|at| *at >= from) {
        for kind in kinds {
            begun.push((at, kind));
            all(begun, kinds, visit);
            begun.pop();
        }
    }
}

#[test]
fn every_short_trace_measures_as_defined() {
    let settings = settings();
    let lens = Lens { truth: Truth::Message, away: AWAY, ttl: None };
    let plans: Vec<_> = settings.chunks(2).map(|pair| plan(pair, lens)).collect();
    let mut checked = 0usize;
    for (kinds, all_settings) in [
        ([Kind::Key, Kind::Sent, Kind::Stopped], true),
        ([Kind::Key, Kind::Sent, Kind::Ended], false),
        ([Kind::Lasting(3), Kind::Sent, Kind::Key], true),
    ] {
        all(&mut Vec::new(), kinds, &mut |events| {
            // Up to four events meet every setting; of five, each trace meets one pair of settings and one kind of end.
            checked += 1;
            if events.len() == EVENTS_MAX && checked % 2 == usize::from(!all_settings) {
                return;
            }
            let mut lines = one(events);
            if checked.is_multiple_of(3) {
                lines.push(Line { at: 20, to: "c".into(), from: "another".into(), kind: Kind::Opened });
            }
            let turn = checked % plans.len();
            let every = events.len() < EVENTS_MAX && all_settings;
            for plan in if every { &plans[..] } else { &plans[turn..=turn] } {
                if let Err(found) = compare(std::slice::from_ref(&lines), plan, lens) {
                    panic!("{found}\nthe trace:\n{}", text(&lines));
                }
            }
        });
    }
    assert_eq!(checked, 3 * 17_086, "by 3 kinds, n times out of 4 moments: the sum of 3^n (n + 3 over 3)");
}
