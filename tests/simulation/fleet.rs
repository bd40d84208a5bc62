//! Several nodes for one org: seeded worlds, and scenes that have a name.

use std::time::Duration;

use typingd::fleet::WhenUnreachable;

use crate::fleet_world::{Climate, Fault, History, World};

const ALL: [Fault; 10] = [
    Fault::Kill,
    Fault::Leave,
    Fault::Pause,
    Fault::Standstill,
    Fault::Partition,
    Fault::Slow,
    Fault::Step,
    Fault::Outage,
    Fault::Wipe,
    Fault::Hang,
];

fn climate(seed: u64) -> Climate {
    let faults = match seed % 6 {
        0 => vec![],
        1 => vec![Fault::Kill, Fault::Hang, Fault::Leave],
        2 => vec![Fault::Pause, Fault::Partition, Fault::Slow],
        3 => vec![Fault::Standstill, Fault::Step, Fault::Kill],
        4 => vec![Fault::Outage, Fault::Wipe, Fault::Slow],
        _ => ALL.to_vec(),
    };
    Climate {
        nodes: 2 + (seed % 4) as usize,
        people: 20,
        typing: Duration::from_secs(240),
        hops: seed % 5 != 4,
        limit: if seed % 7 == 6 { 20 } else { 2_000 },
        when_unreachable: if seed % 8 == 7 { WhenUnreachable::Dark } else { WhenUnreachable::Alone },
        faults,
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// `TYPINGD_SIMULATION_SEEDS=1000` makes it large, `TYPINGD_SIMULATION_FIRST_SEED=17` begins elsewhere.
#[test]
fn every_seeded_fleet_keeps_the_promises() {
    let first = from_environment("TYPINGD_SIMULATION_FIRST_SEED", 0);
    let seeds = from_environment("TYPINGD_SIMULATION_SEEDS", 24);
    for seed in first..first + seeds {
        let history = World::new(seed, climate(seed)).run();
        println!("seed {seed}: {history:?}");
        assert!(history.keys > 1_000, "seed {seed}: hardly anything happened: {history:?}");
    }
    let _ = History::default();
}
