//! Who gets a waiting call, and what is true of it when it ends.

use prometheus::Registry;
use tokio::sync::mpsc;

use super::*;
use crate::config::{Function, Workers};
use crate::dispatch::Catalog;
use crate::metrics::Metrics;

const ID: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

fn desk(limit: usize) -> (Arc<Desk>, mpsc::Receiver<Cancel>, Arc<Version>) {
    let metrics = Arc::new(Metrics::register(&Registry::new()).expect("fresh"));
    let (cancels, waiting) = Cancels::new(metrics);
    let function = Function {
        invocation_path: "/".into(),
        workers: Workers::Claiming,
        id: ID.parse().expect("valid"),
        name: "echo".into(),
        versions: vec![ID.parse().expect("valid")],
    };
    let catalog = Catalog::new(&"us-east".parse().expect("valid"), &[function]);
    let version = Arc::clone(catalog.versions().next().expect("one"));
    (Desk::new(limit, cancels), waiting, version)
}

fn seat(desk: &Arc<Desk>, version: &Arc<Version>) -> Call {
    let place = desk.admit().expect("room");
    let (mut call, _) = place.seat(ID.parse().expect("valid"), Arc::clone(version), None);
    call.set_in_queue(true);
    call
}

#[test]
fn places_are_bounded_and_given_back() {
    let (desk, _waiting, version) = desk(2);
    let first = seat(&desk, &version);
    let second = desk.admit().expect("room");
    assert!(desk.admit().is_none());
    assert_eq!((desk.queued(), desk.running()), (1, 0));
    drop(second);
    drop(first);
    assert_eq!((desk.queued(), desk.running()), (0, 0));
    assert!(desk.admit().is_some());
}

#[test]
fn one_claim_wins_and_the_counts_follow() {
    let (desk, mut waiting, version) = desk(2);
    let call = seat(&desk, &version);
    let entry = desk
        .find_answer(call.answer_token())
        .expect("known")
        .ok()
        .expect("waiting");
    assert_eq!(entry.apply(&desk, Event::Claim), Ok(State::Queued));
    assert_eq!(entry.apply(&desk, Event::Claim), Err(Moot(State::Claimed)));
    assert_eq!((desk.queued(), desk.running()), (0, 1));
    for event in [Event::HeadArrived, Event::BodyBegan, Event::BodyEnded] {
        assert!(call.apply(event).is_ok());
    }
    assert_eq!((desk.queued(), desk.running()), (0, 0));
    let token = call.answer_token();
    drop(call);
    assert!(waiting.try_recv().is_err(), "nothing to cancel");
    assert!(desk.find_answer(token).is_none());
}

#[test]
fn an_expired_call_is_provably_not_started_and_stays_so() {
    let (desk, mut waiting, version) = desk(2);
    let call = seat(&desk, &version);
    let token = call.answer_token();
    let entry = desk
        .find_answer(token)
        .expect("known")
        .ok()
        .expect("waiting");
    assert_eq!(call.apply(Event::DeadlinePassed), Ok(Execution::NotStarted));
    assert_eq!(entry.apply(&desk, Event::Claim), Err(Moot(State::Expired)));
    drop(call);
    assert!(waiting.try_recv().is_ok(), "cancelled and purged");
    let over = desk.find_answer(token).expect("known").err();
    assert!(over.is_some_and(|of| of.id == version.id));
}

#[test]
fn late_workers_make_a_queued_call_uncertain() {
    let (desk, _waiting, version) = desk(2);
    version.saw_late_worker();
    let call = seat(&desk, &version);
    assert_eq!(call.apply(Event::DeadlinePassed), Ok(Execution::Started));
}

#[test]
fn what_was_never_queued_is_not_cancelled() {
    let (desk, mut waiting, version) = desk(2);
    let mut call = seat(&desk, &version);
    call.set_in_queue(false);
    assert!(call.apply(Event::QueueFailed).is_ok());
    drop(call);
    assert!(waiting.try_recv().is_err());
}

#[test]
fn ended_calls_are_remembered_within_bounds() {
    let (desk, _waiting, version) = desk(2);
    for _ in 0..SHARDS * REMEMBERED * 2 {
        drop(seat(&desk, &version));
    }
    let remembered: usize = desk.shards.iter().map(|s| lock(s).tickets.len()).sum();
    assert!(remembered <= SHARDS * REMEMBERED, "{remembered}");
}

#[test]
fn of_a_claim_and_a_deadline_exactly_one_happens() {
    let (desk, _waiting, version) = desk(1);
    for _ in 0..2_000 {
        let call = seat(&desk, &version);
        let entry = Arc::clone(&call.entry);
        let claimed = std::thread::scope(|scope| {
            let claim = scope.spawn(|| entry.apply(&desk, Event::Claim).is_ok());
            let expired = call.apply(Event::DeadlinePassed);
            let claimed = claim.join().expect("no panic");
            assert_eq!(
                expired.expect("possible in both states") == Execution::NotStarted,
                !claimed
            );
            claimed
        });
        assert_eq!(call.entry.state(), State::Expired, "claimed: {claimed}");
        drop(call);
    }
}

#[tokio::test]
async fn emptiness_is_waited_for() {
    let (desk, _waiting, version) = desk(2);
    desk.empty().await;
    let call = seat(&desk, &version);
    let emptied = desk.empty();
    let leave = async {
        tokio::task::yield_now().await;
        drop(call);
    };
    tokio::join!(emptied, leave);
}
