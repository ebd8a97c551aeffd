//! The production `table` and `route` code in a seeded discrete-event simulation, beside other ways to choose a region.
//!
//! * `short_seeds_keep_the_promises`: many small worlds in any weather, each with its own seed. `EDGE_SIM_SEED` replays
//!   one, `EDGE_SIM_SEEDS` says how many.
//! * `the_table`: each policy in each scenario, as ratios to an oracle; `EDGE_SIM=full` (which `make sim` sets) takes
//!   the large world, `EDGE_SIM=small` the small one over `EDGE_SIM_SEEDS` seeds, without judging it.
//!
//! README.md has the method and the results.

// Simulated quantities are small, and a lost bit of a millisecond matters to nobody.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

mod baseline;
mod capacity;
mod edge;
mod engine;
mod grey;
mod places;
mod random;
mod region;
mod scenario;
mod score;
mod table;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::baseline::Chooser;
use self::engine::Run;
use self::random::Random;
use self::scenario::Scenario;
use self::world::{Size, World};

/// Short seeds that are tried if nobody says how many.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a seed broke.
fn short(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let size = Size {
        regions: 2 + random.below(4),
        edges: 1 + random.below(3),
        functions: 1 + random.below(6),
        rate: 20.0,
        seconds: 6,
        load: random.between(0.4, 1.2),
        cold: random.unit() / 2.0,
        swing: random.unit(),
    };
    let world = World::new(size, seed);
    Run::new(&world, Scenario::Storm, Chooser::Ours, seed)
        .run()
        .broken
}

#[test]
fn short_seeds_keep_the_promises() {
    if let Some(seed) = number("EDGE_SIM_SEED") {
        let broken = short(seed);
        assert!(broken.is_empty(), "EDGE_SIM_SEED={seed}: {broken:#?}");
        return;
    }
    let (seeds, next) = (number("EDGE_SIM_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let broken = short(seed);
            assert!(broken.is_empty(), "EDGE_SIM_SEED={seed}: {broken:#?}");
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    println!("{seeds} seeds in {:?}", begun.elapsed());
}
