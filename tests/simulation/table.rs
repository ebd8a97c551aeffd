//! Each policy in each scenario over several seeds, as a table of ratios to the oracle.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::baseline::Chooser;
use crate::engine::Run;
use crate::number;
use crate::scenario::Scenario;
use crate::score::Score;
use crate::world::{Size, World};

/// One line of the table, as means over seeds.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    mean: f64,
    cost: f64,
    p99: f64,
    overhead: f64,
    failed: f64,
    herd: f64,
    moves: f64,
    switches: f64,
}

const LARGE: Size = Size {
    regions: 20,
    edges: 200,
    functions: 2_000,
    rate: 1_000.0,
    seconds: 90,
    load: 0.6,
    cold: 0.0,
    swing: 0.0,
};

/// Small enough for an unoptimised build.
const SMALL: Size = Size {
    regions: 6,
    edges: 6,
    functions: 20,
    rate: 150.0,
    seconds: 45,
    ..LARGE
};

fn line(score: &Score, best: &Score, size: &Size, scenario: Scenario) -> Line {
    let (from, until) = scenario.window(size);
    let minutes = size.seconds as f64 / 60.0;
    Line {
        mean: score.mean() / best.mean(),
        cost: score.cost() / best.cost(),
        p99: score.p99() / best.p99(),
        overhead: score.mean_overhead() / best.mean_overhead(),
        failed: score.failed_share() * 100.0,
        herd: score.herd(from as usize, until as usize),
        moves: score.moves as f64 / minutes,
        switches: score.switches as f64 / score.calls.max(1) as f64 * 100.0,
    }
}

/// One scenario and seed: the lines in the order of [`Chooser::ALL`], and how many calls it took.
fn compare(scenario: Scenario, size: Size, seed: u64) -> (Vec<Line>, u64) {
    let size = scenario.size(size);
    let world = World::new(size, seed);
    let mut best: Option<Score> = None;
    let mut calls = 0;
    let lines = Chooser::ALL.into_iter().map(|chooser| {
        let begun = Instant::now();
        let score = Run::new(&world, scenario, chooser, seed).run();
        let (weather, policy) = (scenario.name(), chooser.name());
        assert!(
            score.broken.is_empty(),
            "{weather}, {policy}: {:#?}",
            score.broken
        );
        calls += score.calls;
        eprintln!(
            "{weather:>12} {policy:>12} seed {seed}: mean {:>7.1} ms, p99 {:>8.1} ms, {:?}",
            score.mean(),
            score.p99(),
            begun.elapsed()
        );
        line(
            &score,
            best.get_or_insert_with(|| score.clone()),
            &size,
            scenario,
        )
    });
    (lines.collect(), calls)
}

/// All scenarios and seeds, on all cores: the mean lines of each scenario, and how many calls it took.
fn compare_all(scenarios: &[Scenario], size: Size, seeds: u64) -> (Vec<Vec<Line>>, u64) {
    let none = vec![vec![Line::default(); Chooser::ALL.len()]; scenarios.len()];
    let (sums, next) = (Mutex::new((none, 0)), AtomicUsize::new(0));
    let seeds = seeds as usize;
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(job / seeds) else {
                return;
            };
            let (lines, calls) = compare(*scenario, size, (job % seeds) as u64 + 1);
            let mut sums = sums.lock().expect("no panic");
            sums.1 += calls;
            for (sum, line) in sums.0[job / seeds].iter_mut().zip(&lines) {
                sum.add(line, 1.0 / seeds as f64);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    sums.into_inner().expect("no panic")
}

fn print(name: &str, lines: &[Line]) {
    for (chooser, line) in Chooser::ALL.iter().zip(lines) {
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} % | {:.2} | {:.0} | {:.1} % |",
            chooser.name(),
            line.mean,
            line.cost,
            line.p99,
            line.overhead,
            line.failed,
            line.herd,
            line.moves,
            line.switches
        );
    }
}

/// What even a small world must show. Calls that failed are in no mean, so who fails many is not compared by it.
fn hold(weather: Scenario, lines: &[Line]) {
    let of = |chooser| {
        let place = Chooser::ALL.iter().position(|c| *c == chooser);
        lines[place.expect("listed")]
    };
    let (name, ours) = (weather.name(), of(Chooser::Ours));
    let most = match weather {
        Scenario::Calm | Scenario::Grey | Scenario::Partition => 1.15,
        Scenario::Lies => 2.0,
        _ => 1.4,
    };
    assert!(ours.mean <= most, "{name}: {ours:?}");
    assert!(ours.failed <= 0.5, "{name}: {ours:?}");
    for other in [Chooser::TwoChoices, Chooser::LeastLoaded, Chooser::Envoy] {
        assert!(ours.mean <= of(other).mean, "{name}: {other:?} is better");
    }
}

/// Loose bounds on a small world; the bars themselves are for the large one.
#[test]
fn the_table() {
    let asked = std::env::var("EDGE_SIM").unwrap_or_default();
    let (mut size, seeds) = if asked == "full" {
        (LARGE, 3)
    } else {
        (SMALL, 1)
    };
    let measured = matches!(asked.as_str(), "full" | "small");
    let seeds = number("EDGE_SIM_SEEDS")
        .filter(|_| measured)
        .unwrap_or(seeds);
    size.seconds = number("EDGE_SIM_SECONDS").unwrap_or(size.seconds);
    let only = std::env::var("EDGE_SIM_SCENARIO").ok();
    let all = Scenario::ALL.into_iter();
    let all: Vec<Scenario> = all
        .filter(|s| only.as_ref().is_none_or(|name| s.name() == name))
        .collect();
    let (tables, calls) = compare_all(&all, size, seeds);
    println!(
        "| scenario | policy | mean | cost | p99 | overhead | failed | herd | moves/min | switches |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (weather, lines) in all.into_iter().zip(&tables) {
        print(weather.name(), lines);
        if !measured {
            hold(weather, lines);
        }
    }
    println!("{calls} calls");
}

// === impl Line ===

impl Line {
    fn add(&mut self, other: &Self, share: f64) {
        self.mean += other.mean * share;
        self.cost += other.cost * share;
        self.p99 += other.p99 * share;
        self.overhead += other.overhead * share;
        self.failed += other.failed * share;
        self.herd += other.herd * share;
        self.moves += other.moves * share;
        self.switches += other.switches * share;
    }
}
