//! What the largest table that is promised costs: fifty regions that report ten thousand functions each.
//!
//! In a binary of its own, because it counts what the allocator gives out. Decisions are on every call's path and get
//! nothing of it; the table has to fit beside the calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use frontdoor::region::{Endpoint, RegionIndex};
use frontdoor::route::{Ask, Policy, decide, spare};
use frontdoor::table::{Event, Limits, ProbeOutcome, Snapshot, Table};
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};

const REGIONS: u16 = 50;
const FUNCTIONS: u32 = 10_000;
/// What the table of that size may hold on to.
const MOST: i64 = 64 << 20;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(n: u32, kind: u16) -> T {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9);
    format!("{mixed:08x}-{kind:04x}-4000-8000-{n:012x}")
        .parse()
        .expect("valid")
}

fn name(region: u16) -> RegionName {
    format!("region-{region}").parse().expect("valid")
}

/// All functions, half of their slots free in the first report and fewer in later ones.
fn report(region: u16, seq: u64) -> Report {
    let one = |n| FunctionReport {
        function: id(n, 1),
        version: id(n, 2),
        deployed: true,
        workers: 2,
        slots: 16,
        free: if seq == 1 { 8 } else { 7 },
        queued: 0,
        service_ms: 200,
        mute: false,
    };
    Report {
        v: VERSION,
        region: name(region),
        epoch: 1,
        seq,
        draining: false,
        queued: 0,
        running: 0,
        full: true,
        functions: (0..FUNCTIONS).map(one).collect(),
    }
}

/// The table after so many reports of each region, which stay for no longer than they are read.
fn table(now: Instant) -> Table {
    let mut table = Table::new(
        (0..REGIONS).map(|region| (name(region), 1.0)),
        Limits::default(),
    );
    for n in 0..REGIONS {
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
            let outcome = ProbeOutcome::Good(Duration::from_millis(1 + 3 * u64::from(n / 4)));
            table.apply(Event::Probed { endpoint, outcome }, now);
        }
    }
    let mut first = report(0, 1);
    for n in 0..REGIONS {
        first.region = name(n);
        table.apply(Event::Heard(first.clone()), now);
    }
    table
}

/// Whatever may be asked.
fn asks() -> Vec<Ask> {
    let mut been = Ask::default();
    (0..3).for_each(|region| been.tried.add(RegionIndex(region)));
    let with = |change: fn(&mut Ask)| {
        let mut ask = Ask::default();
        change(&mut ask);
        ask
    };
    vec![
        Ask::default(),
        been,
        with(|ask| ask.affinity = Some(7)),
        with(|ask| ask.named = Some(RegionIndex(9))),
        with(|ask| ask.version = Some(id::<VersionId>(1, 2))),
    ]
}

fn decisions(snapshot: &Snapshot) -> AllocationInfo {
    let (policy, asks) = (Policy::default(), asks());
    let mut functions: Vec<FunctionId> = (0..FUNCTIONS).step_by(97).map(|n| id(n, 1)).collect();
    functions.push(id(FUNCTIONS, 1));
    measure(|| {
        for (ask, seed) in asks.iter().zip(1..) {
            for function in &functions {
                let ask = Ask {
                    function: Some(*function),
                    ..*ask
                };
                let decided = decide(snapshot, &policy, &ask, seed);
                assert!(decided.is_ok() && spare(snapshot, &policy, &ask, RegionIndex(0)));
            }
        }
    })
}

#[test]
fn the_largest_table_fits_and_no_decision_takes_memory() {
    let now = Instant::now();
    let mut kept = None;
    let built = measure(|| {
        let mut table = table(now);
        let before = table.snapshot(now);
        // Requests still read the last snapshot while a region's news is taken in.
        table.apply(Event::Heard(report(3, 2)), now);
        let after = table.snapshot(now);
        kept = Some((table, before, after));
    });
    let (_table, before, after) = kept.expect("built");
    println!("{} KiB", built.bytes_current / 1024);
    assert!(built.bytes_current <= MOST, "{built:?}");
    for snapshot in [before, after] {
        let decided = decisions(&snapshot);
        assert_eq!(decided.count_total, 0, "{decided:?}");
    }
}
