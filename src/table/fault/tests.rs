//! Each name, from the evidence that leads to it.

use super::*;

const CALM: Evidence = Evidence {
    own: Some(Sight::Well),
    answers: true,
    well: 2,
    unwell: 0,
    heartbeat: Some(true),
    speaks_on: false,
    bus: Some(true),
    failing: false,
    canary: None,
    complains: false,
    orphans: 0,
};

fn check(change: impl Fn(&mut Evidence)) -> Fault {
    let mut evidence = CALM;
    change(&mut evidence);
    name(&evidence)
}

#[test]
fn a_region_that_does_not_answer_us() {
    let gone = |well, unwell, heartbeat, bus| {
        check(|e| {
            (e.own, e.answers) = (Some(Sight::Unwell), false);
            (e.well, e.unwell, e.heartbeat, e.bus) = (well, unwell, heartbeat, bus);
        })
    };
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(gone(0, 2, no, yes), Fault::RegionDown);
    assert_eq!(gone(1, 1, no, yes), Fault::RegionDown);
    assert_eq!(gone(2, 1, yes, yes), Fault::MyPath);
    assert_eq!(gone(2, 0, no, yes), Fault::MyPath);
    assert_eq!(gone(0, 0, yes, yes), Fault::Unsure, "too early to tell");
    assert_eq!(gone(0, 0, no, yes), Fault::RegionDown);
    assert_eq!(gone(0, 0, no, no), Fault::Unsure, "we hear nobody");
    assert_eq!(gone(0, 0, None, None), Fault::Unsure);
    let speaks = |e: &mut Evidence| {
        (e.own, e.answers, e.speaks_on) = (Some(Sight::Unwell), false, true);
        e.well = 0;
    };
    assert_eq!(check(speaks), Fault::MyPath, "it still speaks");
}

#[test]
fn a_region_that_answers_and_gets_no_calls() {
    let held = |failing| {
        check(|e| {
            (e.own, e.failing) = (Some(Sight::Unwell), failing);
            (e.well, e.unwell) = (0, 2);
        })
    };
    assert_eq!(held(false), Fault::Returning);
    assert_eq!(held(true), Fault::Grey);
}

#[test]
fn a_region_that_says_it_is_not_well_is_not_gone() {
    let says = |canary, heartbeat, bus, unwell| {
        check(|e| {
            (e.own, e.answers, e.complains) = (Some(Sight::Unwell), false, true);
            (e.canary, e.heartbeat, e.bus) = (canary, heartbeat, bus);
            (e.well, e.unwell) = (0, unwell);
        })
    };
    let (yes, no) = (Some(true), Some(false));
    for unwell in [0, 3] {
        let queue = says(Some(Canary::Queue), no, yes, unwell);
        assert_eq!(queue, Fault::QueueDown);
        let workers = says(Some(Canary::Workers), yes, yes, unwell);
        assert_eq!(workers, Fault::WorkersDown);
        assert_eq!(says(None, no, yes, unwell), Fault::BusDown);
        assert_eq!(says(None, yes, no, unwell), Fault::BusDown);
        assert_eq!(says(None, yes, yes, unwell), Fault::Unsure, "it drains");
        assert_eq!(says(None, None, None, unwell), Fault::Unsure);
    }
}

#[test]
fn a_region_that_answers_us() {
    assert_eq!(check(|_| {}), Fault::None);
    assert_eq!(check(|e| e.own = None), Fault::None);
    assert_eq!(check(|e| e.unwell = 3), Fault::TheirPath);
    assert_eq!(check(|e| e.heartbeat = Some(false)), Fault::BusDown);
    assert_eq!(check(|e| e.bus = Some(false)), Fault::BusDown);
    let silent = |e: &mut Evidence| e.heartbeat = None;
    assert_eq!(check(silent), Fault::None, "it never spoke: NVIDIA's");
    assert_eq!(check(|e| e.failing = true), Fault::Grey);
    assert_eq!(check(|e| e.canary = Some(Canary::Queue)), Fault::QueueDown);
    assert_eq!(
        check(|e| e.canary = Some(Canary::Workers)),
        Fault::WorkersDown
    );
    assert_eq!(check(|e| e.orphans = 1), Fault::FunctionDown);
    let old = |e: &mut Evidence| (e.orphans, e.heartbeat) = (1, Some(false));
    assert_eq!(check(old), Fault::BusDown, "what was told may be over");
}

#[test]
fn names_are_different() {
    let names: std::collections::HashSet<_> = Fault::ALL.iter().map(|f| f.as_str()).collect();
    assert_eq!(names.len(), Fault::ALL.len());
}
