//! Where calls go, by tables of regions.

mod capacity;
mod functions;
mod laws;
mod oracle;
mod risk;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::region::Health;
use crate::table::{EndpointView, RegionView};

fn region(name: &str, health: Health, rtt_ms: u64) -> RegionView {
    let name: frontdoor_protocol::names::RegionName = name.parse().expect("valid");
    let name_key = name.key();
    let rtt = (rtt_ms > 0).then(|| Duration::from_millis(rtt_ms));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    RegionView {
        tag: name.tag(),
        name,
        health,
        draining: false,
        weight: 1.0,
        ramp: 1.0,
        rtt,
        endpoints: vec![EndpointView {
            address,
            health,
            rtt,
            tally: Arc::default(),
            dropped: false,
            risk: 0.0,
            grey: false,
        }],
        risk: 0.0,
        grey: false,
        heard: None,
        facts: Arc::default(),
        trust: None,
        key: name_key,
        condition: crate::table::Condition::default(),
    }
}

fn world(regions: Vec<RegionView>) -> Snapshot {
    Snapshot::new(7, regions, Arc::default())
}

/// The refusal when nothing at all can be said.
fn nowhere() -> NoRegion {
    NoRegion {
        retry_after: Policy::default().retry_after,
    }
}

/// How 1,000 decisions are spread, by region, with the reason of the last one for each.
fn spread(snapshot: &Snapshot, ask: &Ask) -> BTreeMap<usize, (u32, Reason)> {
    let mut counts = BTreeMap::new();
    for seed in 0..1000 {
        if let Ok(decision) = decide(snapshot, &Policy::default(), ask, seed) {
            let entry = counts
                .entry(decision.region.0)
                .or_insert((0, decision.reason));
            *entry = (entry.0 + 1, decision.reason);
        }
    }
    counts
}

fn only(snapshot: &Snapshot, region: usize, reason: Reason) {
    assert_eq!(
        spread(snapshot, &Ask::default()),
        BTreeMap::from([(region, (1000, reason))])
    );
}

#[test]
fn the_nearest_well_region_takes_all() {
    use Health::{Down, Suspect, Up};
    only(
        &world(vec![region("a", Up, 4), region("b", Up, 80)]),
        0,
        Reason::Nearest,
    );
    only(
        &world(vec![region("a", Up, 80), region("b", Up, 4)]),
        1,
        Reason::Nearest,
    );
    only(
        &world(vec![region("a", Suspect, 4), region("b", Up, 80)]),
        1,
        Reason::Nearest,
    );
    only(
        &world(vec![region("a", Down, 4), region("b", Suspect, 80)]),
        1,
        Reason::OnlySuspects,
    );
    only(
        &world(vec![region("a", Down, 4), region("b", Down, 80)]),
        0,
        Reason::FailOpen,
    );
    only(
        &world(vec![region("a", Up, 0), region("b", Up, 80)]),
        1,
        Reason::Nearest,
    );
}

#[test]
fn a_draining_region_is_never_chosen() {
    let mut draining = region("a", Health::Up, 4);
    draining.draining = true;
    only(
        &world(vec![draining.clone(), region("b", Health::Suspect, 80)]),
        1,
        Reason::OnlySuspects,
    );
    assert_eq!(
        decide(
            &world(vec![draining]),
            &Policy::default(),
            &Ask::default(),
            1
        ),
        Err(nowhere())
    );
}

#[test]
fn peers_share_by_weight() {
    let mut heavy = region("a", Health::Up, 10);
    heavy.weight = 3.0;
    let counts = spread(
        &world(vec![
            heavy,
            region("b", Health::Up, 10),
            region("c", Health::Up, 50),
        ]),
        &Ask::default(),
    );
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((650..850).contains(&counts[&0].0), "{counts:?}");
}

#[test]
fn a_returning_region_takes_only_its_share() {
    let mut ramping = region("a", Health::Ramp, 4);
    ramping.ramp = 0.2;
    let counts = spread(
        &world(vec![ramping.clone(), region("b", Health::Up, 80)]),
        &Ask::default(),
    );
    assert!((150..250).contains(&counts[&0].0), "{counts:?}");
    assert_eq!(counts[&1].1, Reason::NearerRamps);
    only(
        &world(vec![ramping, region("b", Health::Suspect, 80)]),
        0,
        Reason::Nearest,
    );
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let snapshot = world(vec![
        region("a", Health::Up, 4),
        region("b", Health::Suspect, 80),
        region("c", Health::Down, 1),
    ]);
    let mut ask = Ask::default();
    for expected in [0, 1, 2] {
        let decision = decide(&snapshot, &Policy::default(), &ask, 1).expect("one is left");
        assert_eq!((decision.region.0, decision.epoch), (expected, 7));
        ask.tried.add(decision.region);
    }
    assert_eq!(
        decide(&snapshot, &Policy::default(), &ask, 1),
        Err(NoRegion {
            retry_after: Duration::from_secs(1)
        })
    );
}

#[test]
fn nothing_to_choose_from_is_said() {
    assert_eq!(
        decide(&world(vec![]), &Policy::default(), &Ask::default(), 1),
        Err(nowhere())
    );
    let mut empty = region("a", Health::Down, 0);
    empty.endpoints.clear();
    assert_eq!(
        decide(&world(vec![empty]), &Policy::default(), &Ask::default(), 1),
        Err(nowhere())
    );
}
