//! What a decision costs: `route::decide` is on every call's path, once per attempt.
//!
//! Fifty regions is far more than anyone runs; two is the least that makes sense. Every decision has a seed and, where
//! functions are known, a function of its own, as in traffic, so that neither branches nor caches do better than there.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use frontdoor::region::{Endpoint, RegionIndex};
use frontdoor::route::{Ask, Policy, decide};
use frontdoor::table::{Event, Limits, ProbeOutcome, Snapshot, Table};
use frontdoor_protocol::names::{FunctionId, VersionId};
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};

fn id(n: u64) -> String {
    let hash = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (hash >> 32, hash & 0xffff_ffff);
    format!(
        "{high:08x}-{:04x}-4000-8000-{low:08x}{:04x}",
        low & 0xffff,
        n & 0xffff
    )
}

fn function(n: u64) -> FunctionId {
    id(n).parse().expect("valid")
}

/// Regions from 1 ms away, 3 ms apart, four at a time: a few peers, one in ten suspect, two addresses each. Every one
/// reports those of `functions` that `deployed` puts there, half of their slots free.
fn world(count: u16, functions: u64, deployed: impl Fn(u64, u16) -> bool) -> Snapshot {
    let now = Instant::now();
    let names = (0..count).map(|n| (format!("region-{n}").parse().expect("valid"), 1.0));
    let mut table = Table::new(names, Limits::default());
    for n in 0..count {
        let region = RegionIndex(usize::from(n));
        let addresses = [2 * n + 1, 2 * n + 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let resolved = addresses.to_vec();
        table.apply(
            Event::Resolved {
                region,
                addresses: resolved,
            },
            now,
        );
        for address in addresses {
            let endpoint = Endpoint { region, address };
            let rtt = Duration::from_millis(1 + 3 * u64::from(n / 4));
            table.apply(
                Event::Probed {
                    endpoint,
                    outcome: ProbeOutcome::Good(rtt),
                },
                now,
            );
            for _ in 0..if n % 10 == 9 { 2 } else { 0 } {
                table.apply(
                    Event::Probed {
                        endpoint,
                        outcome: ProbeOutcome::Bad,
                    },
                    now,
                );
            }
        }
        let here = (0..functions)
            .filter(|f| deployed(*f, n))
            .map(|f| FunctionReport {
                function: function(f),
                version: id(f + (1 << 40)).parse::<VersionId>().expect("valid"),
                deployed: true,
                workers: 2,
                slots: 16,
                free: 8,
                queued: 0,
                service_ms: 200,
                mute: false,
            });
        if functions > 0 {
            table.apply(
                Event::Heard(Report {
                    v: VERSION,
                    region: format!("region-{n}").parse().expect("valid"),
                    epoch: 1,
                    seq: 1,
                    draining: n % 17 == 16,
                    queued: 0,
                    running: 0,
                    full: true,
                    functions: here.collect(),
                }),
                now,
            );
        }
    }
    table.snapshot(now)
}

/// Decides again and again, for functions in no order.
fn bench(c: &mut Criterion, name: &str, snapshot: &Snapshot, functions: u64, ask: Ask) {
    let policy = Policy::default();
    let ids: Vec<FunctionId> = (0..functions).map(function).collect();
    let (mut seed, mut place) = (0_u64, 0_usize);
    c.bench_function(name, |b| {
        b.iter(|| {
            seed = seed.wrapping_add(1);
            place += 7_919;
            place = place.checked_sub(ids.len()).unwrap_or(place);
            // As the proxy does, which has just read the function off the request's head.
            let ask = Ask {
                function: ids.get(place).copied(),
                ..ask
            };
            decide(black_box(snapshot), &policy, &ask, seed)
        });
    });
}

fn decisions(c: &mut Criterion) {
    for count in [2, 50] {
        let snapshot = world(count, 0, |_, _| true);
        bench(c, &format!("decide/{count}"), &snapshot, 0, Ask::default());
    }
    let mut third = Ask::default();
    (0..3).for_each(|region| third.tried.add(RegionIndex(region)));
    bench(
        c,
        "decide/50/third-move",
        &world(50, 0, |_, _| true),
        0,
        third,
    );
    let everywhere = world(50, 10_000, |_, _| true);
    bench(c, "decide/50x10000", &everywhere, 10_000, Ask::default());
    let thin = world(50, 10_000, |f, n| (f + u64::from(n)).is_multiple_of(17));
    bench(c, "decide/50x10000/in-three", &thin, 10_000, Ask::default());
}

criterion_group!(benches, decisions);
criterion_main!(benches);
