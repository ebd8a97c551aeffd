//! How many calls are asked for, by tables of what is free and asked for already.

use super::*;

/// What can happen, in a few letters for the tables.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(Option<usize>),
    Arrive(Arrival),
    Back(usize),
    Finish,
    Forget,
    /// Seconds go by.
    Wait(u64),
}
use Arrival::{NoSlot, Taken};
use Step::{Arrive, Ask, Back, Finish, Forget, Wait};

/// Requests live 30 s here.
fn check(total: usize, steps: &[Step], running: usize, asked: usize) {
    let mut now = Instant::now();
    let mut slots = Slots::new(total);
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Ask(expected) => {
                let got = slots.ask(100, now + Duration::from_secs(30));
                assert_eq!(got, expected, "step {at} of {steps:?}");
            }
            Arrive(expected) => assert_eq!(slots.arrived(), expected, "step {at} of {steps:?}"),
            Back(missing) => slots.given_back(missing),
            Finish => slots.finished(),
            Forget => slots.forget_asked(),
            Wait(seconds) => {
                now += Duration::from_secs(seconds);
                slots.expire(now);
            }
        }
        assert!(slots.running() <= total, "step {at} of {steps:?}");
    }
    assert_eq!(
        (slots.running(), slots.asked()),
        (running, asked),
        "{steps:?}"
    );
}

#[test]
fn asks_for_exactly_the_free_slots_not_yet_asked_for() {
    check(3, &[Ask(Some(3)), Ask(None)], 0, 3);
    check(3, &[Ask(Some(3)), Arrive(Taken), Ask(None)], 1, 2);
    check(
        3,
        &[Ask(Some(3)), Arrive(Taken), Finish, Ask(Some(1))],
        0,
        3,
    );
    check(
        3,
        &[Ask(Some(3)), Arrive(Taken), Back(2), Ask(Some(2))],
        1,
        2,
    );
}

#[test]
fn what_arrives_without_a_slot_goes_back() {
    check(
        1,
        &[Ask(Some(1)), Arrive(Taken), Arrive(NoSlot), Arrive(NoSlot)],
        1,
        0,
    );
    check(
        1,
        &[Arrive(Taken), Finish, Finish, Arrive(Taken), Arrive(NoSlot)],
        1,
        0,
    );
}

#[test]
fn a_lost_reply_costs_capacity_only_until_the_deadline() {
    check(4, &[Ask(Some(4)), Wait(29), Ask(None)], 0, 4);
    check(4, &[Ask(Some(4)), Wait(30), Ask(Some(4))], 0, 4);
    // Two of four arrived and ended, and were asked for again later: only those can still come.
    let later = [
        Arrive(Taken),
        Arrive(Taken),
        Finish,
        Finish,
        Wait(10),
        Ask(Some(2)),
        Wait(20),
    ];
    check(4, &[&[Ask(Some(4))], &later[..]].concat(), 0, 2);
}

#[test]
fn a_new_inbox_starts_from_nothing() {
    check(
        4,
        &[Ask(Some(4)), Arrive(Taken), Forget, Ask(Some(3))],
        1,
        3,
    );
}

#[test]
fn giving_back_too_much_is_harmless() {
    check(2, &[Ask(Some(2)), Back(9), Ask(Some(2))], 0, 2);
}

#[test]
fn one_request_is_no_larger_than_the_server_allows() {
    let mut slots = Slots::new(5);
    let dead = Instant::now();
    let asked: Vec<_> = std::iter::from_fn(|| slots.ask(2, dead)).collect();
    assert_eq!(asked, [2, 2, 1]);
}
