//! What a decision costs: `route::decide` is on every call's path, once per attempt.
//!
//! Fifty regions is far more than anyone runs; two is the least that makes sense. Every decision has a seed
//! of its own, as in traffic, so that branches are predicted no better than there.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use frontdoor::region::{Health, RegionIndex};
use frontdoor::route::{Ask, Policy, decide};
use frontdoor::table::{EndpointView, RegionView, Snapshot};
use frontdoor_protocol::names::RegionName;

/// Regions from 1 ms away, 3 ms apart: a few peers, one in ten suspect, two addresses each.
fn world(count: u16) -> Snapshot {
    let regions = (0..count)
        .map(|n| {
            let name: RegionName = format!("region-{n}").parse().expect("valid");
            let health = if n % 10 == 9 {
                Health::Suspect
            } else {
                Health::Up
            };
            let rtt = Some(Duration::from_millis(1 + 3 * u64::from(n / 4)));
            let endpoint = |port| EndpointView {
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                health,
                rtt,
                tally: Arc::default(),
                dropped: false,
            };
            RegionView {
                tag: name.tag(),
                name,
                health,
                draining: n % 17 == 16,
                weight: 1.0,
                ramp: 1.0,
                rtt,
                endpoints: vec![endpoint(2 * n + 1), endpoint(2 * n + 2)],
                heard: None,
            }
        })
        .collect();
    Snapshot { epoch: 1, regions }
}

fn decisions(c: &mut Criterion) {
    let policy = Policy::default();
    for count in [2, 50] {
        let snapshot = world(count);
        let mut seed = 0_u64;
        c.bench_function(&format!("decide/{count}"), |b| {
            b.iter(|| {
                seed = seed.wrapping_add(1);
                decide(black_box(&snapshot), &policy, &Ask::default(), seed)
            });
        });
    }
    let snapshot = world(50);
    let mut ask = Ask::default();
    (0..3).for_each(|region| ask.tried.add(RegionIndex(region)));
    let mut seed = 0_u64;
    c.bench_function("decide/50/third-move", |b| {
        b.iter(|| {
            seed = seed.wrapping_add(1);
            decide(black_box(&snapshot), &policy, black_box(&ask), seed)
        });
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);
