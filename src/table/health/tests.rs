//! Tables of what may happen to one endpoint.

use super::*;

#[derive(Clone, Copy)]
enum Step {
    Good,
    Refused,
    Silent,
    Served(u32, u32),
    Leaves,
    Wait(u64),
}
use Step::{Good, Leaves, Refused, Served, Silent, Wait};

fn limits() -> Limits {
    Limits {
        hold_down: Duration::from_secs(30),
        ramp: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// Runs steps, each 100 ms after the last, and returns the monitor and its time.
fn run(steps: &[Step]) -> (Monitor, Instant) {
    let mut now = Instant::now();
    let mut monitor = Monitor::new(now);
    for step in steps {
        now += Duration::from_millis(100);
        match *step {
            Good => monitor.good(now, &limits()),
            Refused => monitor.miss(Miss::Certain, now, &limits()),
            Silent => monitor.miss(Miss::Silent, now, &limits()),
            Served(good, bad) => monitor.served(good, bad, now, &limits()),
            Leaves => monitor.leaves(now),
            Wait(ms) => {
                now += Duration::from_millis(ms);
                monitor.tick(now, &limits());
            }
        }
    }
    (monitor, now)
}

fn check(steps: &[Step], expected: Health) {
    assert_eq!(run(steps).0.health(), expected);
}

#[test]
fn starts_suspect_and_rises_with_the_first_answer() {
    check(&[], Health::Suspect);
    check(&[Good], Health::Up);
    check(&[Refused; 4], Health::Down);
    check(&[Refused, Refused, Refused, Refused, Good], Health::Up);
}

#[test]
fn misses_in_a_row_are_believed() {
    check(&[Good, Refused], Health::Up);
    check(&[Good, Refused, Good, Refused], Health::Up);
    check(&[Good, Refused, Refused], Health::Suspect);
    check(&[Good, Refused, Refused, Refused, Refused], Health::Down);
    check(
        &[Good, Refused, Refused, Good, Good, Good, Good],
        Health::Suspect,
    );
    check(
        &[Good, Refused, Refused, Good, Good, Good, Good, Good],
        Health::Up,
    );
}

#[test]
fn silence_is_death_only_after_a_second() {
    check(
        &[Good, Silent, Silent, Silent, Silent, Silent],
        Health::Suspect,
    );
    check(
        &[Good, Silent, Silent, Silent, Silent, Wait(800)],
        Health::Down,
    );
    check(
        &[
            Good, Silent, Silent, Silent, Silent, Good, Good, Good, Good, Good,
        ],
        Health::Up,
    );
}

#[test]
fn live_traffic_counts() {
    check(&[Good, Served(100, 19)], Health::Up);
    check(&[Good, Served(0, 19)], Health::Up);
    check(&[Good, Served(80, 20)], Health::Suspect);
    check(&[Good, Served(0, 20), Wait(0)], Health::Down);
    check(
        &[Good, Served(80, 20), Good, Good, Good, Good, Good],
        Health::Suspect,
    );
    check(
        &[
            Good,
            Served(80, 20),
            Wait(11_000),
            Good,
            Good,
            Good,
            Good,
            Good,
        ],
        Health::Up,
    );
}

#[test]
fn return_needs_proof_and_patience() {
    let mut steps = vec![Good, Refused, Refused, Refused, Refused];
    steps.extend([Good; 25]);
    check(&steps, Health::Down);
    steps.push(Wait(30_000));
    check(&steps, Health::Ramp);
    let (monitor, now) = run(&steps);
    assert!((monitor.weight(now, &limits()) - 0.1).abs() < 0.01);
    assert!((monitor.weight(now + Duration::from_secs(30), &limits()) - 0.5).abs() < 0.01);
    steps.push(Wait(60_000));
    check(&steps, Health::Up);
}

#[test]
fn a_relapse_waits_twice_as_long() {
    let mut steps = vec![Good];
    for _ in 0..2 {
        steps.extend([Refused; 4]);
        steps.extend([Good; 25]);
        steps.push(Wait(30_000));
    }
    check(&steps, Health::Down);
    steps.push(Wait(30_000));
    check(&steps, Health::Ramp);
    steps.extend([Refused, Refused]);
    check(&steps, Health::Down);
}

#[test]
fn a_ramp_ends_where_live_calls_fail() {
    let mut steps = vec![Good, Refused, Refused, Refused, Refused];
    steps.extend([Good; 25]);
    steps.push(Served(0, 100));
    steps.push(Wait(30_000));
    check(&steps, Health::Ramp);
    steps.push(Served(10, 20));
    check(&steps, Health::Down);
}

#[test]
fn a_planned_restart_is_no_relapse() {
    let mut steps = vec![Good, Leaves, Refused, Refused, Refused, Refused];
    steps.extend([Good; 20]);
    check(&steps, Health::Ramp);
    // The next failure is not planned, and is held down as a first one.
    steps.extend([Wait(61_000), Good, Refused, Refused, Refused, Refused]);
    steps.extend([Good; 25]);
    check(&steps, Health::Down);
    steps.push(Wait(28_000));
    check(&steps, Health::Ramp);
}
