//! Where calls go when reports tell of functions: presence, capacity, breakers, affinity, override, and why.

use std::time::Instant;

use frontdoor_protocol::names::{FunctionId, RegionName};
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};

use super::*;
use crate::region::{Endpoint, Health};
use crate::table::{Event, Limits, ProbeOutcome, Table};

/// What a region says of the one function: slots, free, queued; `None` in a report that does not have it.
type Said = Option<(u32, u32, u32)>;

/// Stands for workers that do not tell.
const MUTE: Option<Said> = Some(Some((0, 1, 3)));

fn function() -> FunctionId {
    "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
        .parse()
        .expect("valid")
}

fn ask() -> Ask {
    Ask {
        function: Some(function()),
        ..Ask::default()
    }
}

/// Regions by round-trip time and report, as seen when the reports are so old.
fn seen(regions: &[(u64, Option<Said>)], age: Duration) -> Snapshot {
    let now = Instant::now();
    let name = |n: usize| -> RegionName { format!("r{n}").parse().expect("valid") };
    let mut table = Table::new(
        (0..regions.len()).map(|n| (name(n), 1.0)),
        Limits::default(),
    );
    for (n, (rtt, said)) in regions.iter().enumerate() {
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(n).expect("few") + 1));
        let endpoint = Endpoint {
            region: RegionIndex(n),
            address,
        };
        table.apply(
            Event::Resolved {
                region: RegionIndex(n),
                addresses: vec![address],
            },
            now,
        );
        let outcome = ProbeOutcome::Good(Duration::from_millis(*rtt));
        table.apply(Event::Probed { endpoint, outcome }, now);
        let Some(said) = said else { continue };
        let one = said.map(|(slots, free, queued)| FunctionReport {
            function: function(),
            version: "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
                .parse()
                .expect("valid"),
            deployed: true,
            workers: slots,
            slots,
            free,
            queued,
            service_ms: 100,
            mute: (slots, free) == (0, 1),
        });
        let report = Report {
            v: VERSION,
            region: name(n),
            epoch: 1,
            seq: 1,
            draining: false,
            queued: 0,
            running: 0,
            full: true,
            functions: one.into_iter().collect(),
        };
        table.apply(Event::Heard(report), now);
    }
    table.snapshot(now + age)
}

fn fresh(regions: &[(u64, Option<Said>)]) -> Snapshot {
    seen(regions, Duration::ZERO)
}

fn goes(snapshot: &Snapshot, ask: &Ask) -> (usize, Reason) {
    let decision = decide(snapshot, &Policy::default(), ask, 1).expect("a region");
    (decision.region.0, decision.reason)
}

#[test]
fn a_function_is_called_where_it_is() {
    let here = Some(Some((10, 5, 0)));
    let away = fresh(&[(1, Some(None)), (90, here), (2, Some(None))]);
    assert_eq!(goes(&away, &ask()), (1, Reason::NearerLacks));
    assert_eq!(
        goes(&away, &Ask::default()),
        (0, Reason::Nearest),
        "any function"
    );
    let unknown = fresh(&[(1, None), (90, here)]);
    assert_eq!(
        goes(&unknown, &ask()),
        (0, Reason::Nearest),
        "who tells nothing may have it"
    );
    let nowhere = fresh(&[(1, Some(None)), (90, Some(None))]);
    assert_eq!(
        goes(&nowhere, &ask()),
        (0, Reason::Nearest),
        "let the region say so"
    );
    let mut tried = ask();
    tried.tried.add(RegionIndex(1));
    let refused = decide(&away, &Policy::default(), &tried, 1);
    assert!(refused.is_err(), "nobody else has it: {refused:?}");
}

#[test]
fn old_news_takes_no_region_away() {
    let world = [(1, Some(None)), (90, Some(Some((10, 5, 0))))];
    assert_eq!(goes(&seen(&world, Duration::from_secs(9)), &ask()).0, 1);
    let old = seen(&world, Duration::from_secs(60));
    assert_eq!(goes(&old, &ask()).0, 1, "who had it is asked first");
    let mut tried = ask();
    tried.tried.add(RegionIndex(1));
    assert_eq!(goes(&old, &tried).0, 0, "then who may have it by now");
    let fresh = seen(&world, Duration::from_secs(9));
    assert!(decide(&fresh, &Policy::default(), &tried, 1).is_err());
}

#[test]
fn what_would_wait_longer_than_the_way_goes_on() {
    let free = Some(Some((10, 1, 0)));
    for (nearest, expected) in [
        (Some((10, 1, 0)), (0, Reason::Nearest)),
        // Ten slots of 100 ms: one is free in 10 ms, the sixth in 60 ms.
        (Some((10, 0, 0)), (0, Reason::Nearest)),
        (Some((10, 0, 2)), (0, Reason::Nearest)),
        (Some((10, 0, 5)), (1, Reason::NearerBusy)),
        (Some((0, 0, 0)), (1, Reason::NearerBusy)),
    ] {
        let snapshot = fresh(&[(1, Some(nearest)), (41, free)]);
        assert_eq!(goes(&snapshot, &ask()), expected, "{nearest:?}");
    }
    let old = [(1, Some(Some((10, 0, 40)))), (41, free)];
    assert_eq!(
        goes(&seen(&old, Duration::from_secs(60)), &ask()).0,
        0,
        "old news of load fades"
    );
    let small = [(1, Some(Some((1, 0, 0)))), (41, free)];
    assert_eq!(
        goes(&seen(&small, Duration::from_secs(60)), &ask()).0,
        0,
        "however few slots there are"
    );
}

/// The regions again, after one of them was changed.
fn with(world: Snapshot, region: usize, change: impl FnOnce(&mut RegionView)) -> Snapshot {
    let Snapshot {
        epoch,
        mut regions,
        catalog,
        ..
    } = world;
    change(&mut regions[region]);
    let health = regions[region].health;
    let endpoints = regions[region].endpoints.iter_mut();
    endpoints.for_each(|endpoint| endpoint.health = health);
    Snapshot::new(epoch, regions, catalog)
}

#[test]
fn workers_are_looked_for_before_a_first_one_is_waited_for() {
    let (idle, staffed) = (Some(Some((0, 0, 0))), Some(Some((10, 5, 0))));
    let world = || fresh(&[(1, idle), (41, staffed), (90, Some(None))]);
    let all = |world: &Snapshot| {
        let homes = spread(world, &ask());
        homes
            .into_iter()
            .map(|(region, (count, reason))| (region, count, reason))
            .collect()
    };
    let check = |world: &Snapshot, region, reason| {
        let homes: Vec<_> = all(world);
        assert_eq!(homes, [(region, 1000, reason)]);
    };
    check(&world(), 1, Reason::NearerBusy);
    let ramping = spread(&with(world(), 1, |r| r.ramp = 0.1), &ask());
    assert_eq!(ramping.keys().collect::<Vec<_>>(), [&1]);
    check(
        &with(world(), 1, |r| r.health = Health::Suspect),
        1,
        Reason::OnlySuspects,
    );
    check(
        &with(world(), 1, |r| r.health = Health::Down),
        0,
        Reason::Nearest,
    );
    check(&with(world(), 1, |r| r.draining = true), 0, Reason::Nearest);
    let mut tried = ask();
    tried.tried.add(RegionIndex(1));
    assert_eq!(goes(&world(), &tried).0, 0, "nobody else has any");
    let nowhere = fresh(&[(1, idle), (41, Some(None))]);
    check(&nowhere, 0, Reason::Nearest);
    let old = seen(&[(1, idle), (41, staffed)], Duration::from_secs(60));
    check(&old, 0, Reason::Nearest);
}

#[test]
fn a_call_may_move_to_where_a_worker_may_be() {
    let (idle, staffed) = (Some(Some((0, 0, 0))), Some(Some((10, 0, 50))));
    let mut been = ask();
    been.tried.add(RegionIndex(0));
    let spare = |world: &Snapshot| spare(world, &Policy::default(), &been, RegionIndex(0));
    for (other, expected) in [
        (staffed, true),
        (MUTE, true),
        (idle, false),
        (Some(None), false),
        (None, true),
    ] {
        let world = fresh(&[(1, staffed), (41, other)]);
        assert_eq!(spare(&world), expected, "{other:?}");
        let suspect = with(world, 1, |r| r.health = Health::Suspect);
        assert!(!spare(&suspect), "{other:?}");
    }
    let old = seen(&[(1, staffed), (41, idle)], Duration::from_secs(60));
    assert!(spare(&old), "who knows");
    // Half a second for a slot there against a cold start here; twenty seconds.
    assert!(spare(&fresh(&[(1, idle), (41, staffed)])));
    assert!(!spare(&fresh(&[(1, idle), (41, Some(Some((1, 0, 200))))])));
}

#[test]
fn many_are_not_called_back_to_one_slot() {
    let world = fresh(&[(1, Some(Some((0, 0, 0)))), (41, Some(Some((1, 1, 0))))]);
    let mut been = ask();
    been.tried.add(RegionIndex(0));
    let (policy, here) = (Policy::default(), RegionIndex(0));
    let (address, row) = (
        world.regions[1].endpoints[0].address,
        world.row(function(), None),
    );
    let mut moved = Vec::new();
    while better(&world, &policy, &been, here) && moved.len() < 10_000 {
        moved.push(world.depart(RegionIndex(1), address, row));
    }
    // Each takes 100 ms there, and ten seconds are what a cold start here takes.
    assert!((90..=110).contains(&moved.len()), "{} moved", moved.len());
}

#[test]
fn workers_that_do_not_tell_are_not_missing() {
    let idle = Some(Some((0, 0, 0)));
    let world = fresh(&[(1, idle), (41, MUTE)]);
    assert_eq!(goes(&world, &ask()), (1, Reason::NearerBusy));
    let both = fresh(&[(1, MUTE), (41, Some(Some((10, 10, 0))))]);
    assert_eq!(goes(&both, &ask()), (0, Reason::Nearest));
}

#[test]
fn a_call_is_called_back_when_workers_are_elsewhere() {
    let (idle, staffed) = (Some(Some((0, 0, 7))), Some(Some((10, 0, 50))));
    let busy = Some(Some((1, 0, 200)));
    let mut been = ask();
    been.tried.add(RegionIndex(0));
    let here = RegionIndex(0);
    let better = |world: &Snapshot, been: &Ask, here| better(world, &Policy::default(), been, here);
    for (at, other, expected) in [
        (idle, staffed, true),
        (staffed, staffed, false),
        (idle, idle, false),
        (idle, MUTE, false),
        (MUTE, staffed, false),
        (idle, busy, false),
        (idle, Some(None), false),
        (idle, None, false),
        (None, staffed, false),
    ] {
        let world = fresh(&[(1, at), (41, other)]);
        assert_eq!(better(&world, &been, here), expected, "{at:?} {other:?}");
        let suspect = with(world, 1, |r| r.health = Health::Suspect);
        assert_eq!(better(&suspect, &been, here), expected, "{at:?} {other:?}");
        let down = with(suspect, 1, |r| r.health = Health::Down);
        assert!(!better(&down, &been, here), "{at:?} {other:?}");
    }
    let old = seen(&[(1, idle), (41, staffed)], Duration::from_secs(60));
    assert!(!better(&old, &been, here), "who knows");
    let world = fresh(&[(1, idle), (41, staffed)]);
    been.tried.add(RegionIndex(1));
    assert!(!better(&world, &been, here), "it was there");
    assert!(!better(&world, &been, RegionIndex(9)));
}

#[test]
fn own_calls_count_before_the_region_tells() {
    let snapshot = fresh(&[(1, Some(Some((10, 2, 0)))), (36, Some(Some((10, 10, 0))))]);
    let mut flights = Vec::new();
    let homes: Vec<usize> = (0..12)
        .map(|seed| {
            let decision = decide(&snapshot, &Policy::default(), &ask(), seed).expect("a region");
            flights.push(snapshot.depart(decision.region, decision.address, decision.row));
            decision.region.0
        })
        .collect();
    // Two are free, and three more wait for less than the way to the other takes.
    assert_eq!(homes, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    flights.truncate(3);
    assert_eq!(goes(&snapshot, &ask()).0, 0);
}

#[test]
fn peers_share_by_what_they_can_take() {
    let snapshot = fresh(&[
        (10, Some(Some((100, 30, 0)))),
        (10, Some(Some((100, 10, 0)))),
    ]);
    let first = (0..1000)
        .filter(|seed| {
            let decision = decide(&snapshot, &Policy::default(), &ask(), *seed);
            decision.is_ok_and(|decision| decision.region.0 == 0)
        })
        .count();
    assert!((650..850).contains(&first), "{first}");
}

#[test]
fn affinity_stays_until_it_would_wait() {
    let free = Some(Some((10, 5, 0)));
    let world = fresh(&[(1, free), (20, free), (90, free)]);
    let keyed = |n: u64| Ask {
        affinity: Some(affinity(&n.to_le_bytes())),
        ..ask()
    };
    let homes: Vec<usize> = (0..300).map(|n| goes(&world, &keyed(n)).0).collect();
    for region in 0..3 {
        let count = homes.iter().filter(|home| **home == region).count();
        assert!((70..130).contains(&count), "{count}");
    }
    let busy = fresh(&[(1, free), (20, Some(Some((10, 0, 9)))), (90, free)]);
    for (n, home) in (0..300).zip(&homes) {
        let (now, reason) = goes(&busy, &keyed(n));
        assert_eq!(reason, Reason::Affinity);
        assert!(
            if *home == 1 { now != 1 } else { now == *home },
            "only the busy one's keys move"
        );
    }
}

#[test]
fn a_named_region_is_tried_first_unless_it_is_down() {
    let free = Some(Some((10, 5, 0)));
    let mut world = fresh(&[(1, free), (90, free)]);
    let mut named = Ask {
        named: Some(RegionIndex(1)),
        ..ask()
    };
    assert_eq!(goes(&world, &named), (1, Reason::Override));
    named.tried.add(RegionIndex(1));
    assert_eq!(goes(&world, &named), (0, Reason::Nearest), "then as any");
    named.tried = Tried::default();
    for (health, draining, expected) in [
        (Health::Suspect, false, (1, Reason::Override)),
        (Health::Up, true, (1, Reason::Override)),
        (Health::Down, false, (0, Reason::Nearest)),
    ] {
        world.regions[1].health = health;
        world.regions[1].draining = draining;
        let endpoints = world.regions[1].endpoints.iter_mut();
        endpoints.for_each(|endpoint| endpoint.health = health);
        world = Snapshot::new(world.epoch, world.regions, world.catalog);
        assert_eq!(goes(&world, &named), expected, "{health:?} {draining}");
    }
    named.named = Some(RegionIndex(9));
    assert_eq!(goes(&world, &named).1, Reason::Nearest);
}

#[test]
fn a_trace_makes_the_decision_again_and_says_why() {
    let mut world = fresh(&[
        (1, Some(None)),
        (41, Some(Some((10, 0, 40)))),
        (90, Some(Some((10, 5, 0)))),
        (5, None),
    ]);
    world.regions[3].draining = true;
    let world = Snapshot::new(world.epoch, world.regions, world.catalog);
    for seed in 0..50 {
        let decision = decide(&world, &Policy::default(), &ask(), seed).expect("a region");
        let trace = Trace::record(&world, &Policy::default(), &ask(), seed);
        let text = serde_json::to_string(&trace).expect("plain data");
        let read: Trace = serde_json::from_str(&text).expect("plain data");
        assert_eq!(read, trace);
        assert_eq!(read.decide(), Ok((decision.region, decision.reason)));
    }
    let explanation = Trace::record(&world, &Policy::default(), &ask(), 1).explain();
    let lines: Vec<_> = explanation
        .lines
        .iter()
        .map(|l| (l.region.as_str(), l.excluded))
        .collect();
    assert_eq!(
        lines,
        [
            ("r0", Some("not deployed there")),
            ("r3", Some("draining")),
            ("r1", None),
            ("r2", None)
        ]
    );
    assert!((explanation.lines[2].parts.wait - 410.0).abs() < 0.1);
    let text = explanation.to_string();
    assert!(
        text.starts_with("r2 (nearer-lacks)") && text.contains("draining"),
        "{text}"
    );
}
