//! Failing is a distance: what the share of calls that surely fails does to regions, to homes and to endpoints.

use std::collections::BTreeSet;

use super::*;
use crate::region::Health::{Suspect, Up};

/// A region that is well, and fails this share of its calls.
fn failing(name: &str, rtt_ms: u64, risk: f64) -> RegionView {
    let mut view = region(name, Up, rtt_ms);
    view.risk = risk;
    view.endpoints[0].risk = risk;
    view
}

/// The nearer region fails a share of its calls, the other one none.
fn pair(risk: f64, far_ms: u64) -> Snapshot {
    world(vec![failing("a", 10, risk), failing("b", far_ms, 0.0)])
}

#[test]
fn a_share_of_failures_is_a_distance() {
    // A call that fails costs five seconds: one in a thousand is 5 ms.
    for (risk, far_ms, expected) in [
        (0.000, 50, (0, Reason::Nearest)),
        (0.005, 50, (0, Reason::Nearest)),
        (0.010, 50, (1, Reason::NearerFails)),
        (0.010, 90, (0, Reason::Nearest)),
        (0.050, 200, (1, Reason::NearerFails)),
        (0.050, 300, (0, Reason::Nearest)),
        (1.000, 1000, (1, Reason::NearerFails)),
    ] {
        let (region, reason) = expected;
        assert_eq!(
            spread(&pair(risk, far_ms), &Ask::default()),
            BTreeMap::from([(region, (1000, reason))]),
            "{risk} against {far_ms} ms"
        );
    }
    let even = spread(&pair(0.008, 50), &Ask::default());
    assert_eq!(even.len(), 2, "as far as the other: {even:?}");
    let site = Site::from(&failing("a", 10, 0.010));
    let parts = rank::predicted(&site, &Known::Nothing, &Policy::default());
    let (risk, total) = (parts.risk - 50.0, parts.total() - 60.0);
    assert!(risk.abs() < 1e-6 && total.abs() < 1e-6, "{parts:?}");
    let patient = Policy {
        failure: Duration::ZERO,
        ..Policy::default()
    };
    let decision = decide(&pair(1.0, 50), &patient, &Ask::default(), 1);
    let region = decision.map(|made| made.region.0);
    assert_eq!(region, Ok(0), "failures that cost nothing");
}

#[test]
fn a_risky_region_is_nobodys_home() {
    let homes = |risk: f64| -> Vec<usize> {
        let snapshot = world(vec![
            failing("a", 10, 0.0),
            failing("b", 20, risk),
            failing("c", 90, 0.0),
        ]);
        let home = |n: u64| {
            let ask = Ask {
                affinity: Some(affinity(&n.to_le_bytes())),
                ..Ask::default()
            };
            let made = decide(&snapshot, &Policy::default(), &ask, n).expect("a region");
            assert_eq!(made.reason, Reason::Affinity, "{risk}");
            made.region.0
        };
        (0..300).map(home).collect()
    };
    let well = homes(0.0);
    let count = well.iter().filter(|home| **home == 1).count();
    assert!(count > 30, "{count} of 300 are at home there");
    for (risk, leaves) in [(0.005, false), (0.02, true), (1.0, true)] {
        for (before, now) in well.iter().zip(homes(risk)) {
            match leaves && *before == 1 {
                true => assert_ne!(now, 1, "{risk}"),
                false => assert_eq!(now, *before, "{risk}: its own keys move and no others"),
            }
        }
    }
    let nowhere = world(vec![failing("a", 10, 0.02), failing("b", 90, 0.02)]);
    let ask = Ask {
        affinity: Some(7),
        ..Ask::default()
    };
    assert_eq!(
        spread(&nowhere, &ask),
        BTreeMap::from([(0, (1000, Reason::Nearest))]),
        "it goes as any other"
    );
}

/// The ports that calls go to in a region with these endpoints, from 1 on.
fn ports(endpoints: &[(Health, f64)]) -> Vec<u16> {
    let mut view = region("a", Up, 10);
    let all = (1..).zip(endpoints).map(|(port, &(health, risk))| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        EndpointView {
            address,
            health,
            rtt: None,
            tally: Arc::default(),
            dropped: false,
            risk,
            grey: false,
        }
    });
    view.endpoints = all.collect();
    let usable = endpoints.iter().filter(|(health, _)| *health == Up);
    view.risk = usable.map(|(_, risk)| *risk).fold(1.0, f64::min);
    let snapshot = world(vec![view]);
    let port = |seed| {
        let made = decide(&snapshot, &Policy::default(), &Ask::default(), seed);
        made.expect("a region").address.port()
    };
    let ports: BTreeSet<u16> = (0..200).map(port).collect();
    ports.into_iter().collect()
}

#[test]
fn a_riskier_endpoint_is_left_alone_while_a_better_one_is_there() {
    for (endpoints, expected) in [
        (vec![(Up, 0.0), (Up, 0.0)], vec![1, 2]),
        (vec![(Up, 0.0), (Up, 0.005)], vec![1, 2]),
        (vec![(Up, 0.0), (Up, 0.02)], vec![1]),
        (vec![(Up, 0.5), (Up, 0.3), (Up, 0.305)], vec![2, 3]),
        (vec![(Up, 0.5), (Up, 0.5)], vec![1, 2]),
        // The better one is not there, or not as well.
        (vec![(Up, 0.5)], vec![1]),
        (vec![(Suspect, 0.0), (Up, 0.5)], vec![2]),
    ] {
        assert_eq!(ports(&endpoints), expected, "{endpoints:?}");
    }
}
