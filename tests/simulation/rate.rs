//! How many requests leave: the rate, what counts towards it, how a cut rate rises.

use std::time::Duration;

use typingd::engine::Notice;
use typingd::engine::policy::Policy;
use typingd::model::{Cause, Outcome};

use crate::inquiry::{Bench, at, not_sent};

/// Typing that may take so many requests a second.
fn of_rate(max: u32) -> Policy {
    let mut policy = Policy::default();
    policy.delivery.requests_per_second_max = max;
    policy
}

#[test]
fn requests_count_until_a_second_after_their_answer() {
    let mut bench = Bench::new(Policy::default());
    bench.key("u");
    let dispatch = bench.leaving();
    bench.wait(5_000);
    assert_eq!(bench.engine.counted(bench.now), 1, "in flight");
    let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
    bench.now = bench.now + Duration::from_micros(1_000_999);
    assert_eq!(bench.engine.counted(bench.now), 1, "the upstream's second may not be over");
    bench.now = bench.now + Duration::from_micros(1);
    assert_eq!(bench.engine.counted(bench.now), 0);
}

#[test]
fn each_second_of_excess_halves_the_rate_once() {
    let limited = not_sent(Cause::RateLimited, Some(Duration::ZERO));
    let mut policy = of_rate(100);
    let mut bench = Bench::new(policy.clone());
    let mut limited_after = |millis: u64| {
        bench.wait(millis);
        bench.key(&format!("u{}", bench.now.as_millis()));
        let (_, notice) = bench.answered(limited);
        (bench.engine.rate_in_force(), notice)
    };
    let cut = Some(Notice::RateCut);
    let expected = [(50, cut), (55, None), (30, cut)];
    assert_eq!([limited_after(0), limited_after(500), limited_after(500)], expected, "it rises in between");
    policy.delivery.started_lifespan = Some(Duration::from_secs(1));
    bench.engine.handle_policy(bench.now, policy);
    assert_eq!(bench.engine.rate_in_force(), 30, "another setting leaves the cut as it is");
    bench.engine.handle_share(40);
    assert_eq!(bench.engine.rate_in_force(), 30, "so does a larger share");
    bench.engine.handle_share(20);
    bench.engine.handle_policy(bench.now, of_rate(200));
    assert_eq!(bench.engine.rate_in_force(), 20, "another maximum begins anew, within the share");
    bench.engine.handle_share(150);
    assert_eq!(bench.engine.rate_in_force(), 150, "a rate that was not cut follows the share");

    let mut bench = Bench::new(of_rate(1));
    bench.key("u");
    bench.answered(limited);
    assert_eq!(bench.engine.rate_in_force(), 1, "one request a second always leaves");
}

#[test]
fn requests_are_spread_and_a_cut_rate_rises_however_often_asked() {
    let mut policy = of_rate(100);
    policy.delivery.in_flight_max = 3;
    let mut bench = Bench::new(policy);
    ["a", "b", "c"].iter().for_each(|from| bench.key(from));
    let first = [bench.leaving(), bench.leaving()];
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "a fiftieth of a second's requests in one instant");
    assert_eq!(bench.engine.poll_timeout(bench.now), at(1_010));
    bench.wait(10);
    bench.leaving();
    bench.key("d");
    for dispatch in first {
        let _ = bench.engine.handle_outcome(bench.now, dispatch.id, not_sent(Cause::RateLimited, None));
    }
    assert_eq!(bench.engine.rate_in_force(), 50);
    for _ in 0..20 {
        bench.wait(50);
        let _ = bench.engine.poll_timeout(bench.now);
    }
    assert_eq!(bench.engine.rate_in_force(), 55, "half a second after the pause of as long");
}

#[test]
fn the_next_request_leaves_a_window_after_the_answer() {
    let mut bench = Bench::new(of_rate(1));
    bench.key("u");
    let dispatch = bench.leaving();
    bench.now = bench.now + Duration::from_millis(400);
    bench.key("v");
    assert!(bench.engine.poll_dispatch(bench.now).is_none());
    assert!(bench.engine.poll_timeout(bench.now) > at(2_000), "how long an answer takes is not known");
    let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
    assert_eq!(bench.engine.poll_timeout(bench.now), at(2_401), "the upstream counts from when it arrived");
    bench.wait(1_000);
    assert!(bench.engine.poll_dispatch(bench.now).is_none());
    bench.wait(1);
    assert_eq!(bench.leaving().conversation.from(), "v");
}

/// Every way in which messages may come: of each millisecond, how many.
const MESSAGES: [fn(u64) -> usize; 4] = [
    |_| 0,
    // Evenly, three in five of the limit.
    |millis| usize::from(millis % 17 == 0),
    // In handfuls.
    |millis| if millis % 500 == 0 { 20 } else { 0 },
    // As they please, the same in each run.
    |millis| usize::from(millis.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 == 0),
];

#[test]
fn typing_gives_way_to_messages_in_every_second() {
    const MAX: usize = 100;
    // The answer is there after so many milliseconds.
    const WAY: u64 = 5;
    for (kind, messages) in MESSAGES.iter().enumerate() {
        let mut bench = Bench::new(of_rate(MAX as u32));
        // When typing entries and messages were there, and the answers that are on their way.
        let (mut typing, mut passed) = (Vec::new(), Vec::new());
        let mut flights = std::collections::VecDeque::new();
        for millis in 0..10_000 {
            bench.wait(1);
            bench.key(&millis.to_string());
            while let Some((_, id)) = flights.pop_front_if(|(due, _)| *due <= millis) {
                let _ = bench.engine.handle_outcome(bench.now, id, Outcome::Delivered);
            }
            passed.extend(std::iter::repeat_n(millis, messages(millis)));
            bench.engine.handle_passed(bench.now, messages(millis));
            while let Some(dispatch) = bench.engine.poll_dispatch(bench.now) {
                flights.push_back((millis + WAY, dispatch.id));
                typing.push(millis);
            }
        }
        let within = |of: &[u64], start: u64| of.iter().filter(|at| (start..start + 1_000).contains(*at)).count();
        let most = (0..9_000).map(|start| within(&typing, start) + within(&passed, start)).max().unwrap();
        let least = (1_000..9_000).map(|start| within(&typing, start)).min().unwrap();
        let expected = [98, 38, 38, 34][kind];
        assert!(most <= MAX && least >= expected, "{kind}: at most {most} a second, of it {least} typing");
    }
}

#[test]
fn typing_waits_while_too_many_pass() {
    let mut bench = Bench::new(of_rate(20));
    bench.key("u");
    bench.leaving();
    bench.wait(500);
    bench.key("v");
    bench.engine.handle_passed(bench.now, 20);
    assert_eq!(bench.engine.counted(bench.now), 21, "one in flight");
    bench.wait(1_000);
    assert!(bench.engine.poll_dispatch(bench.now).is_none(), "all the rate is taken");
    bench.wait(1);
    assert_eq!(bench.leaving().conversation.from(), "v", "the upstream's second is over");
}

#[test]
fn one_request_a_second_leaves_whatever_passes() {
    let mut bench = Bench::new(of_rate(20));
    let mut left = 0;
    for millis in 0..10_000 {
        bench.wait(1);
        bench.engine.handle_passed(bench.now, usize::from(millis % 20 == 0));
        bench.key(&millis.to_string());
        while let Some(dispatch) = bench.engine.poll_dispatch(bench.now) {
            let _ = bench.engine.handle_outcome(bench.now, dispatch.id, Outcome::Delivered);
            left += u32::from(millis > 2_000);
        }
    }
    assert!((7..=8).contains(&left), "{left}");
}

#[test]
fn a_refusal_of_what_passes_holds_typing_back() {
    let mut bench = Bench::new(of_rate(20));
    bench.key("v");
    bench.engine.handle_rate_limit(bench.now, Duration::from_millis(1_500));
    assert_eq!(bench.engine.rate_in_force(), 10);
    bench.wait(1_499);
    assert!(bench.engine.poll_dispatch(bench.now).is_none());
    bench.wait(1);
    assert_eq!(bench.leaving().conversation.from(), "v");
}

#[test]
fn a_process_with_a_small_share_counts_all_that_passes() {
    let mut bench = Bench::new(of_rate(1_000));
    bench.engine.handle_share(20);
    bench.engine.handle_passed(bench.now, 500);
    assert_eq!(bench.engine.counted(bench.now), 500, "the share that it asks for follows from this");
    bench.engine.handle_passed(bench.now, 5_000);
    assert_eq!(bench.engine.counted(bench.now), 1_000, "more than the org may send says no more");
}
