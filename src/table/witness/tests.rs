//! Evidence comes, gets old, and stays within bounds; a table shows what follows from it.

use std::net::SocketAddr;

use frontdoor_protocol::report::{self, FunctionReport};
use frontdoor_protocol::verdict::{self, RegionVerdict};

use super::super::fault::Fault;
use super::super::{Limits, ProbeOutcome, Table};
use super::*;
use crate::region::{Endpoint, RegionIndex};

const REGION: RegionIndex = RegionIndex(0);

/// A table whose one region is well, and a clock.
fn table() -> (Table, Instant) {
    let now = Instant::now();
    let mut table = Table::new(
        [("us-east".parse().expect("valid"), 1.0)],
        Limits::default(),
    );
    let addresses = vec![endpoint().address];
    let region = REGION;
    table.apply(Event::Resolved { region, addresses }, now);
    table.apply(probed(ProbeOutcome::Good(Duration::ZERO)), now);
    (table, now)
}

fn endpoint() -> Endpoint {
    Endpoint {
        region: REGION,
        address: SocketAddr::from(([127, 0, 0, 1], 80)),
    }
}

fn probed(outcome: ProbeOutcome) -> Event {
    let endpoint = endpoint();
    Event::Probed { endpoint, outcome }
}

fn condition(table: &mut Table, now: Instant) -> Condition {
    table.snapshot(now).regions[0].condition
}

fn said(edge: u64, seq: u64, sight: Sight, canary: Option<Canary>) -> Event {
    let region = "us-east".parse().expect("valid");
    Event::Verdict(Verdict {
        v: verdict::VERSION,
        edge,
        seq,
        regions: vec![RegionVerdict {
            region,
            sight,
            canary,
        }],
    })
}

fn reported(seq: u64, workers: u32) -> Event {
    staffing(seq, &[(1, workers)])
}

/// A full report of some versions, each with so many workers.
fn staffing(seq: u64, versions: &[(u8, u32)]) -> Event {
    let version = |&(n, workers): &(u8, u32)| {
        let id = format!("7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a1{n}");
        FunctionReport {
            workers,
            slots: workers,
            ..FunctionReport::deployed(id.parse().expect("id"), id.parse().expect("id"))
        }
    };
    Event::Heard(Report {
        v: report::VERSION,
        region: "us-east".parse().expect("valid"),
        epoch: 1,
        seq,
        draining: false,
        queued: 0,
        running: 0,
        full: true,
        functions: versions.iter().map(version).collect(),
    })
}

#[test]
fn verdicts_accuse_and_are_forgotten() {
    let (mut table, now) = table();
    table.apply(said(1, 1, Sight::Unwell, None), now);
    table.apply(said(2, 1, Sight::Unwell, None), now);
    let found = condition(&mut table, now);
    assert!(found.accused && !found.sick);
    assert_eq!((found.fault, found.others), (Fault::TheirPath, (0, 2)));
    table.apply(said(1, 1, Sight::Well, None), now);
    assert_eq!(condition(&mut table, now).others, (0, 2), "not newer");
    table.apply(said(1, 2, Sight::Well, Some(Canary::Queue)), now);
    let found = condition(&mut table, now);
    assert_eq!(found.others, (1, 1));
    let later = now + VERDICT + Duration::from_millis(1);
    assert_eq!(condition(&mut table, later), Condition::default());
}

#[test]
fn hearsay_moves_no_call() {
    let (mut table, now) = table();
    for edge in 0..100 {
        table.apply(said(edge, 1, Sight::Unwell, Some(Canary::Workers)), now);
    }
    let view = table.snapshot(now).regions[0].clone();
    assert_eq!(view.health, crate::region::Health::Up);
    assert!(!view.condition.sick);
}

#[test]
fn a_crowd_of_edges_is_bounded() {
    let (mut table, now) = table();
    for edge in 0..5000 {
        table.apply(said(edge, 1, Sight::Well, None), now);
    }
    assert_eq!(condition(&mut table, now).others, (EDGES, 0));
}

#[test]
fn canaries_make_sick_and_well_again() {
    let (mut table, now) = table();
    let mut fly = |outcome| {
        let region = REGION;
        table.apply(Event::Canary { region, outcome }, now);
        condition(&mut table, now)
    };
    assert!(!fly(Canary::Queue).sick);
    assert!(!fly(Canary::Workers).sick);
    let third = fly(Canary::Workers);
    assert!(third.sick);
    assert_eq!(third.fault, Fault::WorkersDown);
    assert!(fly(Canary::Well).sick, "once is not enough");
    assert_eq!(fly(Canary::Well).fault, Fault::None);
    for _ in 0..3 {
        fly(Canary::Silent);
    }
    let old = now + CANARY + Duration::from_millis(1);
    assert!(!condition(&mut table, old).sick, "nobody looked since");
}

#[test]
fn what_is_down_and_flaps_is_not_grey() {
    let (mut table, mut now) = table();
    for look in 0..40 {
        now += Duration::from_millis(250);
        let good = look == 0 || (look >= 6 && look % 8 >= 4);
        let outcome = if good {
            ProbeOutcome::Good(Duration::from_millis(1))
        } else {
            ProbeOutcome::Bad
        };
        table.apply(probed(outcome), now);
    }
    assert_eq!(condition(&mut table, now).fault, Fault::Returning);
}

#[test]
fn heartbeats_and_workers_are_missed() {
    let (mut table, now) = table();
    table.apply(Event::Bus(true), now);
    table.apply(reported(1, 0), now);
    assert_eq!(
        condition(&mut table, now).fault,
        Fault::None,
        "never had any"
    );
    table.apply(reported(2, 3), now);
    table.apply(reported(3, 0), now);
    assert_eq!(condition(&mut table, now).fault, Fault::FunctionDown);
    table.apply(reported(4, 1), now);
    assert_eq!(condition(&mut table, now).fault, Fault::None);
    let late = now + HEARTBEAT + Duration::from_millis(1);
    assert_eq!(condition(&mut table, late).fault, Fault::BusDown);
}

/// The names that a single edge gives, one look every quarter of a second with a check each; repeated names once.
fn names(
    table: &mut Table,
    now: &mut Instant,
    looks: u64,
    outcome: ProbeOutcome,
    reports: &mut dyn FnMut(u64) -> Option<Event>,
) -> Vec<Fault> {
    let mut names = Vec::new();
    for look in 0..looks {
        *now += Duration::from_millis(250);
        table.apply(probed(outcome), *now);
        if let Some(report) = reports(look) {
            table.apply(report, *now);
        }
        table.apply(Event::Tick, *now);
        names.push(condition(table, *now).fault);
    }
    names.dedup();
    names
}

#[test]
fn a_lost_region_gets_one_name_and_keeps_it() {
    let (mut table, mut now) = table();
    table.apply(Event::Bus(true), now);
    let (good, bad) = (ProbeOutcome::Good(Duration::ZERO), ProbeOutcome::Bad);
    let mut seq = 0;
    let mut regularly = |_| {
        seq += 1;
        Some(reported(seq, 1))
    };
    assert_eq!(
        names(&mut table, &mut now, 20, good, &mut regularly),
        [Fault::None]
    );
    // It dies, and one report was on its way.
    let mut last = Some(reported(1000, 1));
    let found = names(&mut table, &mut now, 40, bad, &mut |_| last.take());
    assert_eq!(found, [Fault::None, Fault::Unsure, Fault::RegionDown]);
    // It starts again: it speaks before its checks are answered.
    let mut seq = 2000;
    let mut regularly = |_| {
        seq += 1;
        Some(reported(seq, 1))
    };
    let found = names(&mut table, &mut now, 3, bad, &mut regularly);
    assert!(!found.contains(&Fault::MyPath), "{found:?}");
    let found = names(&mut table, &mut now, 200, good, &mut regularly);
    assert_eq!(found, [Fault::Returning, Fault::None]);
    // Now only the way there is lost.
    let found = names(&mut table, &mut now, 40, bad, &mut regularly);
    assert_eq!(found, [Fault::None, Fault::Unsure, Fault::MyPath]);
}

#[test]
fn what_others_said_before_is_no_proof() {
    let (mut table, mut now) = table();
    table.apply(said(1, 1, Sight::Well, None), now);
    let found = names(&mut table, &mut now, 5, ProbeOutcome::Bad, &mut |_| None);
    assert_eq!(found, [Fault::None, Fault::Unsure]);
    table.apply(said(1, 2, Sight::Well, None), now);
    assert_eq!(condition(&mut table, now).fault, Fault::MyPath);
}

#[test]
fn failing_traffic_is_grey() {
    let (mut table, now) = table();
    let serve = |table: &mut Table, outcome| {
        let endpoint = endpoint();
        let target = None;
        table.apply(
            Event::Served {
                endpoint,
                outcome,
                target,
            },
            now,
        );
    };
    for _ in 0..9 {
        serve(&mut table, ServedOutcome::Declined);
    }
    assert_eq!(condition(&mut table, now).fault, Fault::None, "too few");
    serve(&mut table, ServedOutcome::Declined);
    assert_eq!(condition(&mut table, now).fault, Fault::Grey);
    serve(&mut table, ServedOutcome::Answered(100));
    assert_eq!(condition(&mut table, now).fault, Fault::None);
}

#[test]
fn workers_that_come_back_make_a_deserted_region_well() {
    let canary = |outcome| Event::Canary {
        region: REGION,
        outcome,
    };
    for (found, sick) in [(Canary::Workers, false), (Canary::Queue, true)] {
        let (mut table, now) = table();
        for (seq, workers) in [(1, 1), (2, 0)] {
            table.apply(reported(seq, workers), now);
        }
        (0..3).for_each(|_| drop(table.apply(canary(found), now)));
        assert!(condition(&mut table, now).sick);
        table.apply(reported(3, 0), now);
        assert!(condition(&mut table, now).sick, "nobody came");
        table.apply(reported(4, 1), now);
        assert_eq!(condition(&mut table, now).sick, sick, "{found:?}");
    }
}

#[test]
fn only_workers_that_canaries_can_have_missed_make_a_region_well() {
    let both = |one, two| -> Vec<(u8, u32)> { vec![(1, one), (2, two)] };
    for (before, after, sick) in [
        // The first has workers that take nothing: who comes for the second proves nothing of them.
        ([both(1, 1), both(1, 0)], [both(1, 0), both(1, 1)], true),
        // They are replaced.
        ([both(1, 1), both(1, 0)], [both(0, 0), both(1, 0)], false),
        // Nobody has any: whoever comes was missed, whether ever seen before or not.
        ([both(1, 1), both(0, 0)], [both(0, 0), both(0, 1)], false),
        ([both(1, 0), both(0, 0)], [both(0, 0), both(0, 1)], false),
        // The one that had workers is not deployed any more.
        (
            [both(1, 1), vec![(2, 0)]],
            [vec![(2, 0)], vec![(2, 1)]],
            false,
        ),
        // And it was the only one.
        (
            [vec![(1, 1)], vec![(2, 0)]],
            [vec![(2, 0)], vec![(2, 1)]],
            false,
        ),
    ] {
        let (mut table, mut now) = table();
        for (seq, versions) in (1..).zip(&before) {
            now += Duration::from_millis(250);
            table.apply(staffing(seq, versions), now);
        }
        now += Duration::from_millis(250);
        for _ in 0..3 {
            let (region, outcome) = (REGION, Canary::Workers);
            table.apply(Event::Canary { region, outcome }, now);
        }
        assert!(condition(&mut table, now).sick, "{before:?}");
        for (seq, versions) in (3..).zip(&after) {
            now += Duration::from_millis(250);
            table.apply(staffing(seq, versions), now);
        }
        let found = condition(&mut table, now).sick;
        assert_eq!(found, sick, "{before:?} {after:?}");
    }
}

#[test]
fn a_region_without_its_queue_keeps_its_name_while_it_says_so() {
    let (mut table, mut now) = table();
    table.apply(Event::Bus(true), now);
    table.apply(reported(1, 1), now);
    for _ in 0..3 {
        let (region, outcome) = (REGION, Canary::Queue);
        table.apply(Event::Canary { region, outcome }, now);
    }
    let mut found = Vec::new();
    // Long enough for its health to be down, and for canaries to be forgotten.
    for seq in 1..=100 {
        now += Duration::from_millis(250);
        let (endpoint, status) = (endpoint(), 503);
        table.apply(Event::Unwell { endpoint, status }, now);
        table.apply(said(1, seq, Sight::Unwell, None), now);
        found.push(condition(&mut table, now).fault);
    }
    found.dedup();
    assert_eq!(found, [Fault::QueueDown]);
    assert_eq!(
        table.snapshot(now).regions[0].health,
        crate::region::Health::Down
    );
    // Then its service is gone as well.
    let found = names(&mut table, &mut now, 20, ProbeOutcome::Bad, &mut |_| None);
    assert_eq!(found.last(), Some(&Fault::RegionDown), "{found:?}");
}
