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
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};

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

/// All functions of a region, with so many free slots.
fn report(functions: u32, seq: u64, free: u32) -> Report {
    let id = |n: u32, kind| {
        let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9);
        format!("{mixed:08x}-{kind:04x}-4000-8000-{n:012x}")
    };
    let one = |n| FunctionReport {
        function: id(n, 1).parse().expect("valid"),
        version: id(n, 2).parse().expect("valid"),
        deployed: true,
        workers: 2,
        slots: 16,
        free,
        queued: 0,
        service_ms: 200,
        mute: false,
    };
    Report {
        v: VERSION,
        region: "region-7".parse().expect("valid"),
        epoch: 1,
        seq,
        draining: false,
        queued: 0,
        running: 0,
        full: true,
        functions: (0..functions).map(one).collect(),
    }
}

/// A full report, of which nothing or everything is new, while requests read the snapshot before it.
fn reports(c: &mut Criterion) {
    let now = Instant::now();
    for (name, change) in [("same", 0), ("changed", 1)] {
        let (mut table, mut seq) = (table(now), 1);
        let mut said = [report(10_000, 0, 8), report(10_000, 0, 8 - change)];
        said[0].seq = seq;
        table.apply(Event::Heard(said[0].clone()), now);
        let mut snapshot = table.snapshot(now);
        c.bench_function(&format!("apply/full-report/{name}/10000"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    seq += 1;
                    said.swap(0, 1);
                    said[0].seq = seq;
                    let event = Event::Heard(said[0].clone());
                    let begun = Instant::now();
                    black_box(table.apply(black_box(event), now));
                    spent += begun.elapsed();
                    snapshot = table.snapshot(now);
                }
                spent
            });
        });
        drop(snapshot);
    }
}

criterion_group!(benches, news, reports);
criterion_main!(benches);
