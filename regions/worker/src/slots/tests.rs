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
    /// Another round.
    Turn,
    /// Seconds go by.
    Wait(u64),
}
use Arrival::{NoSlot, Taken};
use Step::{Arrive, Ask, Back, Finish, Forget, Turn, Wait};

/// Requests live 30 s here.
fn check(total: usize, steps: &[Step], running: usize, asked: usize) {
    let mut now = Instant::now();
    let mut slots = Slots::new(total, None);
    let mut round = 0;
    slots.begin(round, now);
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Ask(expected) => {
                let got = slots.ask(100, now, now + Duration::from_secs(30));
                assert_eq!(got, expected, "step {at} of {steps:?}");
            }
            Arrive(expected) => {
                assert_eq!(slots.arrived(round), expected, "step {at} of {steps:?}")
            }
            Back(missing) => slots.given_back(round, missing),
            Finish => slots.finished(),
            Forget => slots.forget_asked(),
            Turn => {
                round += 1;
                slots.begin(round, now);
            }
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
        Turn,
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
    let mut slots = Slots::new(5, None);
    slots.begin(0, Instant::now());
    let dead = Instant::now();
    let now = Instant::now();
    let asked: Vec<_> = std::iter::from_fn(|| slots.ask(2, now, dead)).collect();
    assert_eq!(asked, [2, 2, 1]);
}

#[test]
fn lost_replies_are_made_good_under_steady_load() {
    let mut now = Instant::now();
    let end = now + Duration::from_secs(40);
    let mut slots = Slots::new(4, None);
    let mut round = 0;
    slots.begin(round, now);
    let ask = |slots: &mut Slots, now| slots.ask(100, now, now + Duration::from_secs(5));
    assert_eq!(ask(&mut slots, now), Some(4));
    // Two of the four never come; the other two come and end twice a second.
    let mut asked = 2;
    while now < end {
        for _ in 0..asked {
            assert_eq!(slots.arrived(round), Taken);
            slots.finished();
        }
        now += Duration::from_millis(500);
        slots.expire(now);
        if slots.round_is_over(now) {
            round += 1;
            slots.begin(round, now);
        }
        asked = ask(&mut slots, now).unwrap();
    }
    assert_eq!(asked, 4);
}

#[test]
fn an_old_round_is_waited_for_until_it_is_dead() {
    let now = Instant::now();
    let mut slots = Slots::new(4, None);
    slots.begin(0, now);
    slots.ask(4, now, now + Duration::from_secs(5));
    slots.begin(1, now);
    slots.forget_asked();
    assert_eq!(slots.ask(4, now, now + Duration::from_secs(5)), Some(4));
    assert_eq!(slots.arrived(0), Taken, "late, and still welcome");
    assert_eq!(slots.asked(), 4, "of the new round none came");
    slots.expire(now + Duration::from_secs(4));
    assert!(slots.awaits(0));
    slots.expire(now + Duration::from_secs(5));
    assert!(!slots.awaits(0) && slots.awaits(1));
}

#[test]
fn of_an_empty_queue_few_are_asked_for_and_of_a_full_one_all() {
    let now = Instant::now();
    let dead = now + Duration::from_secs(5);
    let mut slots = Slots::new(8, Some(2));
    assert!(slots.set_stood(true));
    slots.begin(0, now);
    assert_eq!(slots.offer(now), 0, "nothing is taken yet");
    assert!(slots.set_taking(true) && !slots.set_taking(true));
    assert_eq!(slots.ask(100, now, dead), Some(2));
    assert_eq!(slots.ask(100, now, dead), None);
    assert_eq!(slots.offer(now), 8, "the same slots are offered");
    assert!(slots.take());
    assert_eq!(slots.arrived(0), Taken);
    slots.heard_of_queue(5, now);
    assert_eq!(slots.offer(now), 0, "those who wait are not overtaken");
    assert_eq!(slots.ask(100, now, dead), Some(5), "all that is free");
    // Six are asked for and none comes: somebody else has emptied the queue.
    assert_eq!(slots.offer(now + QUIET), 6);
    slots.heard_of_queue(0, now);
    assert_eq!(slots.offer(now), 6);
}

#[test]
fn what_comes_second_for_a_slot_waits_for_the_next() {
    let now = Instant::now();
    let mut slots = Slots::new(1, Some(1));
    assert!(slots.set_stood(true));
    slots.begin(0, now);
    slots.set_taking(true);
    assert_eq!(slots.ask(100, now, now + Duration::from_secs(5)), Some(1));
    assert!(slots.take() && !slots.take());
    assert_eq!(slots.arrived(0), NoSlot);
    assert!(
        slots.park() && !slots.park(),
        "as many as were asked for beyond"
    );
    assert!(!slots.unpark(), "no slot yet");
    assert!(slots.is_wanted());
    slots.finished();
    assert_eq!(slots.offer(now), 0, "it has waited longer");
    assert!(slots.unpark() && !slots.unpark());
    assert_eq!(slots.running(), 1);
    slots.finished();
    assert_eq!(slots.offer(now), 1);
    slots.set_taking(false);
    assert!(!slots.take() && slots.offer(now) == 0);
}

#[test]
fn without_a_service_to_stand_at_every_free_slot_asks() {
    let now = Instant::now();
    let mut slots = Slots::new(8, Some(2));
    slots.set_taking(true);
    slots.begin(1, now);
    assert_eq!(slots.ask(100, now, now + Duration::from_secs(5)), Some(8));
    slots.forget_asked();
    assert!(slots.set_stood(true) && !slots.set_stood(true));
    assert_eq!(slots.ask(100, now, now + Duration::from_secs(5)), Some(2));
}
