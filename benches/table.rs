//! What news costs: the keeper applies each event and publishes a snapshot after each batch.
//!
//! None of it is on a call's path, but at 50 regions with two addresses each there are some 400 checks a second, and
//! the keeper is one task.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use frontdoor::region::{Endpoint, RegionIndex};
use frontdoor::table::{Event, Limits, ProbeOutcome, ServedOutcome, Table};

const REGIONS: u16 = 50;

fn endpoints(region: u16) -> [SocketAddr; 2] {
    [2 * region + 1, 2 * region + 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// All regions resolved and well.
fn table(now: Instant) -> Table {
    let names = (0..REGIONS).map(|n| (format!("region-{n}").parse().expect("valid"), 1.0));
    let mut table = Table::new(names, Limits::default());
    for region in 0..REGIONS {
        let index = RegionIndex(usize::from(region));
        let addresses = endpoints(region).to_vec();
        table.apply(
            Event::Resolved {
                region: index,
                addresses,
            },
            now,
        );
        for address in endpoints(region) {
            let endpoint = Endpoint {
                region: index,
                address,
            };
            for _ in 0..Limits::default().good_to_return {
                let outcome = ProbeOutcome::Good(Duration::from_millis(5));
                table.apply(Event::Probed { endpoint, outcome }, now);
            }
        }
    }
    table
}

fn news(c: &mut Criterion) {
    let mut now = Instant::now();
    let mut table = table(now);
    let address = endpoints(REGIONS / 2)[1];
    let region = RegionIndex(usize::from(REGIONS / 2));
    let endpoint = Endpoint { region, address };
    let events = [
        (
            "probed",
            Event::Probed {
                endpoint,
                outcome: ProbeOutcome::Good(Duration::from_millis(5)),
            },
        ),
        (
            "served",
            Event::Served {
                endpoint,
                outcome: ServedOutcome::Answered(3),
                target: None,
            },
        ),
        ("tick", Event::Tick),
    ];
    for (name, event) in events {
        c.bench_function(&format!("apply/{name}/{REGIONS}"), |b| {
            b.iter(|| {
                now += Duration::from_millis(1);
                table.apply(black_box(event.clone()), now)
            });
        });
    }
    c.bench_function(&format!("snapshot/{REGIONS}"), |b| {
        b.iter(|| table.snapshot(now))
    });
}

criterion_group!(benches, news);
criterion_main!(benches);
