//! What the table knows of functions: reports of several services, lost, late and doubled, and what live traffic taught.

use frontdoor_protocol::names::{FunctionId, VersionId};
use frontdoor_protocol::report::{FunctionReport, VERSION};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(n: u32) -> T {
    format!("{n:08x}-0000-4000-8000-000000000000")
        .parse()
        .expect("valid")
}

fn says(n: u32, free: u32, queued: u32) -> FunctionReport {
    FunctionReport {
        function: id(n),
        version: id(1000 + n),
        deployed: true,
        workers: 1,
        slots: 10,
        free,
        queued,
        service_ms: 100,
        mute: false,
    }
}

fn heard(epoch: u64, seq: u64, full: bool, functions: &[FunctionReport]) -> Event {
    Event::Heard(Report {
        v: VERSION,
        region: "us-east".parse().expect("valid"),
        epoch,
        seq,
        draining: false,
        queued: 0,
        running: 0,
        full,
        functions: functions.to_vec(),
    })
}

/// The fact of function `n` in the first region.
fn fact(table: &mut Table, n: u32, version: Option<u32>, now: Instant) -> Option<Fact> {
    let snapshot = table.snapshot(now);
    let row = snapshot.row(id::<FunctionId>(n), version.map(id::<VersionId>))?;
    snapshot.regions[0].facts.get(row).map(|(fact, _)| *fact)
}

fn not_here(n: u32, outcome: ServedOutcome) -> Event {
    Event::Served {
        endpoint: Endpoint {
            region: RegionIndex(0),
            address: address(1),
        },
        outcome,
        target: Some(Target {
            function: id(n),
            version: None,
        }),
    }
}

#[test]
fn full_reports_replace_and_deltas_add() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(heard(1, 1, true, &[says(1, 5, 0), says(2, 5, 0)]), now);
    table.apply(heard(1, 2, false, &[says(2, 4, 0), says(3, 3, 0)]), now);
    let free = |table: &mut Table| {
        [1, 2, 3].map(|n| {
            fact(table, n, None, now)
                .filter(Fact::deployed)
                .map(|f| f.free)
        })
    };
    assert_eq!(free(&mut table), [Some(5), Some(4), Some(3)]);
    let gone = FunctionReport {
        deployed: false,
        ..says(1, 0, 0)
    };
    table.apply(heard(1, 3, false, &[gone]), now);
    assert_eq!(free(&mut table), [None, Some(4), Some(3)]);
    table.apply(heard(1, 2, false, &[says(1, 9, 0)]), now);
    assert_eq!(
        free(&mut table),
        [None, Some(4), Some(3)],
        "an old report changes nothing"
    );
    table.apply(heard(1, 4, true, &[says(3, 2, 0)]), now);
    assert_eq!(free(&mut table), [None, None, Some(2)]);
}

#[test]
fn services_add_up_what_is_their_own_and_agree_on_the_rest() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(heard(1, 1, true, &[says(1, 5, 7)]), now);
    table.apply(heard(2, 1, true, &[says(1, 4, 2)]), now);
    let both = fact(&mut table, 1, None, now).expect("known");
    assert_eq!((both.slots, both.free, both.queued), (10, 4, 9));
    table.apply(heard(1, 2, true, &[]), now);
    let one = fact(&mut table, 1, None, now).expect("known");
    assert_eq!(
        (one.deployed(), one.queued),
        (true, 2),
        "the other still has it"
    );
    let later = now + 11 * SECOND;
    table.apply(heard(1, 3, true, &[]), later);
    assert_eq!(
        fact(&mut table, 1, None, later).map(|f| f.deployed()),
        Some(false),
        "who is silent is forgotten"
    );
}

#[test]
fn a_gap_makes_facts_old_until_the_next_full_report() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(heard(1, 1, false, &[says(1, 5, 0)]), now);
    assert_eq!(
        table.snapshot(now).regions[0].trust,
        None,
        "it never told all"
    );
    table.apply(heard(1, 2, true, &[says(1, 5, 0)]), now);
    assert_eq!(table.snapshot(now).regions[0].trust, Some(1.0));
    table.apply(heard(1, 4, false, &[]), now + SECOND);
    let trust =
        |table: &mut Table, after| table.snapshot(now + after).regions[0].trust.expect("told");
    assert!((trust(&mut table, SECOND) - 0.905).abs() < 0.001);
    table.apply(heard(1, 5, true, &[]), now + 2 * SECOND);
    assert!((trust(&mut table, 2 * SECOND) - 1.0).abs() < 0.001);
}

#[test]
fn versions_have_their_own_rows_and_their_function_the_sum() {
    let (mut table, now) = (table(), Instant::now());
    let second = FunctionReport {
        version: id(2001),
        ..says(1, 3, 1)
    };
    table.apply(heard(1, 1, true, &[says(1, 5, 0)]), now);
    table.apply(heard(1, 2, true, &[says(1, 5, 0), second]), now);
    let free = |table: &mut Table, version| fact(table, 1, version, now).map(|f| (f.slots, f.free));
    assert_eq!(free(&mut table, None), Some((20, 8)));
    assert_eq!(free(&mut table, Some(1001)), Some((10, 5)));
    assert_eq!(free(&mut table, Some(2001)), Some((10, 3)));
    assert_eq!(free(&mut table, Some(9)), None);
    table.apply(heard(1, 3, true, &[second]), now);
    assert_eq!(free(&mut table, None), Some((10, 3)));
    table.apply(heard(1, 4, true, &[]), now);
    assert_eq!(
        fact(&mut table, 1, None, now).map(|f| f.deployed()),
        Some(false)
    );
}

#[test]
fn calls_count_themselves_and_facts_know_from_where() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(resolved(&[1]), now);
    table.apply(heard(1, 1, true, &[says(1, 5, 0)]), now);
    let snapshot = table.snapshot(now);
    let row = snapshot.row(id(1), None);
    let flight = snapshot.depart(RegionIndex(0), address(1), row);
    table.apply(heard(1, 2, true, &[says(1, 4, 0)]), now);
    assert_eq!(fact(&mut table, 1, None, now).map(|f| f.base), Some(1));
    drop(flight);
    let live = snapshot.regions[0]
        .facts
        .get(row.expect("known"))
        .expect("known")
        .1;
    assert_eq!(live.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn live_traffic_teaches_about_functions() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(resolved(&[1]), now);
    let lesson = |table: &mut Table, n, at| fact(table, n, None, at).map(|f| f.lesson);
    table.apply(not_here(7, ServedOutcome::NotHere), now);
    assert_eq!(
        lesson(&mut table, 7, now),
        Some(Lesson::Absent),
        "nobody had told of it"
    );
    table.apply(Event::Tick, now + 31 * SECOND);
    assert_eq!(lesson(&mut table, 7, now), Some(Lesson::None));
    for _ in 0..5 {
        table.apply(not_here(7, ServedOutcome::Declined), now);
    }
    assert_eq!(lesson(&mut table, 7, now), Some(Lesson::Broken));
    table.apply(not_here(8, ServedOutcome::NotHere), now);
    table.apply(heard(1, 1, true, &[says(8, 5, 0)]), now);
    assert_eq!(
        lesson(&mut table, 8, now),
        Some(Lesson::None),
        "deployed since"
    );
    table.apply(Event::Tick, now);
    assert_eq!(lesson(&mut table, 8, now), Some(Lesson::None));
}

#[test]
fn workers_that_come_are_used_at_once() {
    let (mut table, now) = (table(), Instant::now());
    table.apply(resolved(&[1]), now);
    let said = |slots| FunctionReport {
        workers: slots,
        slots,
        ..says(1, slots, 0)
    };
    let lesson = |table: &mut Table| fact(table, 1, None, now).map(|f| f.lesson);
    for (other, outcome, expected) in [
        (0, ServedOutcome::NoWorker, Lesson::None),
        (1000, ServedOutcome::Broke, Lesson::Broken),
    ] {
        // Seen of a function with one version, and of one with two.
        for two in [false, true] {
            let second = FunctionReport {
                version: id(2001),
                ..said(0)
            };
            let all = |slots| match two {
                false => vec![said(slots)],
                true => vec![said(slots), second],
            };
            let tell = |table: &mut Table, seq, slots| {
                table.apply(heard(other + u64::from(two), seq, true, &all(slots)), now);
            };
            let mut table = super::table();
            table.apply(resolved(&[1]), now);
            tell(&mut table, 1, 10);
            for _ in 0..5 {
                table.apply(not_here(1, outcome), now);
            }
            assert_eq!(lesson(&mut table), Some(Lesson::Broken));
            tell(&mut table, 2, 10);
            assert_eq!(lesson(&mut table), Some(Lesson::Broken), "said before");
            tell(&mut table, 3, 0);
            assert_eq!(lesson(&mut table), Some(Lesson::Broken), "nobody");
            tell(&mut table, 4, 10);
            assert_eq!(lesson(&mut table), Some(expected), "{outcome:?} {two}");
            table.apply(Event::Tick, now);
            assert_eq!(lesson(&mut table), Some(expected), "{outcome:?} {two}");
        }
    }
    assert_eq!(lesson(&mut table), None);
}

#[test]
fn callers_cannot_fill_the_table() {
    let (mut table, now) = (table(), Instant::now());
    for n in 0..5_000 {
        table.apply(not_here(n, ServedOutcome::NotHere), now);
    }
    assert!(fact(&mut table, 1, None, now).is_some());
    assert!(fact(&mut table, 4_999, None, now).is_none());
}

#[test]
fn operators_drain_and_a_return_ramps() {
    let (mut table, now) = (table(), Instant::now());
    let region = RegionIndex(0);
    table.apply(resolved(&[1]), now);
    table.apply(probed(1, ProbeOutcome::Good(Duration::from_millis(1))), now);
    table.apply(
        Event::Ordered {
            region,
            order: Order::Drain,
        },
        now,
    );
    assert!(table.snapshot(now).regions[0].draining);
    table.apply(
        Event::Ordered {
            region,
            order: Order::Undrain,
        },
        now,
    );
    let view = |table: &mut Table, after| table.snapshot(now + after).regions[0].clone();
    assert!(!view(&mut table, Duration::ZERO).draining);
    assert!((view(&mut table, Duration::ZERO).ramp - 0.1).abs() < 0.01);
    assert!((view(&mut table, 5 * SECOND).ramp - 0.5).abs() < 0.01);
    assert!((view(&mut table, 10 * SECOND).ramp - 1.0).abs() < 0.01);
    table.apply(
        Event::Ordered {
            region,
            order: Order::Weight(3.0),
        },
        now,
    );
    assert!((view(&mut table, SECOND).weight - 3.0).abs() < 0.01);
}
