//! The table as a whole: addresses come and go, news arrives late and out of order.

mod functions;

use std::net::SocketAddr;

use super::*;
use crate::region::Health;

fn table() -> Table {
    let names = ["us-east", "eu-west"].map(|name| (name.parse().expect("valid"), 1.0));
    Table::new(names, Limits::default())
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 80))
}

fn resolved(addresses: &[u8]) -> Event {
    Event::Resolved {
        region: RegionIndex(0),
        addresses: addresses.iter().copied().map(address).collect(),
    }
}

fn probed(last: u8, outcome: ProbeOutcome) -> Event {
    Event::Probed {
        endpoint: Endpoint {
            region: RegionIndex(0),
            address: address(last),
        },
        outcome,
    }
}

fn report(epoch: u64, seq: u64, draining: bool) -> Event {
    let region = "us-east".parse().expect("valid");
    Event::Heard(Report {
        v: 2,
        region,
        epoch,
        seq,
        draining,
        queued: seq,
        running: 0,
        full: true,
        functions: vec![],
    })
}

#[test]
fn a_region_is_as_well_as_its_best_endpoint() {
    let (mut table, now) = (table(), Instant::now());
    assert_eq!(
        table.snapshot(now).regions[0].health,
        Health::Down,
        "no address, nothing to use"
    );
    table.apply(resolved(&[1, 2]), now);
    assert_eq!(table.snapshot(now).regions[0].health, Health::Suspect);
    table.apply(probed(2, ProbeOutcome::Good(Duration::from_millis(7))), now);
    let view = table.snapshot(now).regions[0].clone();
    assert_eq!(
        (view.health, view.rtt),
        (Health::Up, Some(Duration::from_millis(7)))
    );
}

#[test]
fn addresses_come_and_go_but_never_all() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(resolved(&[1, 2]), now);
    table.apply(probed(2, ProbeOutcome::Good(Duration::from_millis(7))), now);
    table.apply(resolved(&[2, 3]), now);
    let view = table.snapshot(now).regions[0].clone();
    assert_eq!(
        view.endpoints.iter().map(|e| e.address).collect::<Vec<_>>(),
        [address(2), address(3)]
    );
    assert_eq!(
        view.endpoints[0].health,
        Health::Up,
        "what is known of an address survives a new answer"
    );
    table.apply(resolved(&[]), now);
    assert_eq!(
        table.snapshot(now).regions[0].endpoints.len(),
        2,
        "stale beats empty"
    );
    assert_eq!(
        table.apply(probed(1, ProbeOutcome::Bad), now),
        [],
        "news of a former address"
    );
}

#[test]
fn transitions_are_told_once() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(resolved(&[1]), now);
    let up = table.apply(probed(1, ProbeOutcome::Good(Duration::from_millis(1))), now);
    assert_eq!(up.len(), 1);
    assert_eq!((up[0].from, up[0].to), (Health::Suspect, Health::Up));
    assert_eq!(
        table.apply(probed(1, ProbeOutcome::Good(Duration::from_millis(1))), now),
        []
    );
}

#[test]
fn a_transition_says_why() {
    let limits = Limits::default();
    let endpoint = Endpoint {
        region: RegionIndex(0),
        address: address(1),
    };
    let status = 503;
    for (event, why) in [
        (probed(1, ProbeOutcome::Bad), Trouble::Refused),
        (probed(1, ProbeOutcome::Silent), Trouble::Silent),
        (Event::Unwell { endpoint, status }, Trouble::Status(503)),
    ] {
        let (mut table, mut now) = (table(), Instant::now());
        table.apply(resolved(&[1]), now);
        let up = table.apply(probed(1, ProbeOutcome::Good(Duration::from_millis(1))), now);
        assert_eq!(up[0].why, None);
        let mut found = Vec::new();
        for _ in 0..8 {
            now += limits.silence_to_down / 4;
            found.extend(table.apply(event.clone(), now));
        }
        let told: Vec<_> = found.iter().map(|t| (t.to, t.why)).collect();
        assert_eq!(
            told,
            [(Health::Suspect, Some(why)), (Health::Down, Some(why))]
        );
    }
}

#[test]
fn the_newest_report_wins_and_draining_expires() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(report(1, 5, true), now);
    table.apply(report(1, 4, false), now);
    assert!(
        table.snapshot(now).regions[0].draining,
        "an older report changes nothing"
    );
    assert!(!table.snapshot(now + Duration::from_secs(11)).regions[0].draining);
    table.apply(report(2, 1, false), now);
    assert!(
        !table.snapshot(now).regions[0].draining,
        "a region drains only if all its services do"
    );
    assert_eq!(
        table.snapshot(now).regions[0].heard.map(|h| h.queued),
        Some(6)
    );
}

#[test]
fn unknown_regions_are_ignored() {
    let (mut table, now) = (table(), Instant::now());
    let endpoint = Endpoint {
        region: RegionIndex(9),
        address: address(1),
    };
    assert_eq!(
        table.apply(
            Event::Probed {
                endpoint,
                outcome: ProbeOutcome::Bad
            },
            now
        ),
        []
    );
    table.apply(
        Event::Resolved {
            region: RegionIndex(9),
            addresses: vec![address(1)],
        },
        now,
    );
    let region = "elsewhere".parse().expect("valid");
    table.apply(
        Event::Heard(Report {
            v: 2,
            region,
            epoch: 1,
            seq: 1,
            draining: true,
            queued: 0,
            running: 0,
            full: true,
            functions: vec![],
        }),
        now,
    );
    assert!(
        table
            .snapshot(now)
            .regions
            .iter()
            .all(|r| r.heard.is_none() && r.endpoints.is_empty())
    );
}
