//! A world to route in, from one seed: edges, regions, how far they are apart, functions, where they are deployed, and
//! the calls that come.
//!
//! The calls depend on the seed alone, so that all policies see the same ones.

use frontdoor_protocol::names::{FunctionId, VersionId};
use uuid::Uuid;

use crate::places::{PLACES, Place, round_trip};
use crate::random::Random;

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) regions: usize,
    pub(crate) edges: usize,
    pub(crate) functions: usize,
    /// Calls per second, everywhere together.
    pub(crate) rate: f64,
    /// Seconds of calls.
    pub(crate) seconds: u64,
    /// The share of its slots that a function uses where its demand is high.
    pub(crate) load: f64,
    /// The share of functions that have a worker in one of their regions only.
    pub(crate) cold: f64,
    /// How much the load swings with the hour, 0 to 1; a day is as long as the run.
    pub(crate) swing: f64,
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) id: FunctionId,
    pub(crate) version: VersionId,
    /// Mean time of a call in milliseconds.
    pub(crate) mean: f64,
    /// Pareto instead of log-normal.
    pareto: bool,
    /// Slots by region; none where it is not deployed.
    pub(crate) slots: Vec<Option<u32>>,
    /// Its share of all calls and of those before it.
    until: f64,
}

/// A call as it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// In microseconds.
    pub(crate) at: u64,
    pub(crate) edge: usize,
    pub(crate) function: usize,
    /// How long its work takes, in microseconds.
    pub(crate) work: u64,
    /// The caller allows a second execution.
    pub(crate) repeatable: bool,
}

/// Everything that does not change.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) size: Size,
    pub(crate) functions: Vec<Function>,
    edges: Vec<Place>,
    /// Mean round trip in milliseconds, by edge and region.
    pub(crate) rtt: Vec<Vec<f64>>,
    /// Regions where a function is deployed, nearest first, by edge and function.
    pub(crate) near: Vec<Vec<Vec<u8>>>,
}

/// The calls of a world, in order.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    world: &'a World,
    random: Random,
    at: f64,
}

/// The share of calls that carry an `Idempotency-Key` or are safe.
const REPEATABLE: f64 = 0.2;
const PARETO: f64 = 2.2;
const SIGMA: f64 = 1.0;

// === impl World ===

impl World {
    pub(crate) fn new(size: Size, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let edges: Vec<Place> = (0..size.edges)
            .map(|n| {
                let near = PLACES[n % size.regions];
                Place {
                    name: "edge",
                    latitude: (near.latitude + random.between(-8.0, 8.0)).clamp(-80.0, 80.0),
                    longitude: near.longitude + random.between(-12.0, 12.0),
                }
            })
            .collect();
        let rtt: Vec<Vec<f64>> = edges
            .iter()
            .map(|edge| {
                let regions = PLACES[..size.regions].iter();
                regions
                    .map(|place| round_trip(edge, place) * random.log_normal(0.12))
                    .collect()
            })
            .collect();
        let mut functions = functions(&size, &mut random);
        let near: Vec<Vec<Vec<u8>>> = rtt.iter().map(|row| nearest(row, &functions)).collect();
        staff(&size, &mut functions, &near, &mut random);
        Self {
            size,
            functions,
            edges,
            rtt,
            near,
        }
    }

    pub(crate) fn calls(&self, seed: u64) -> Calls<'_> {
        Calls {
            world: self,
            random: Random::new(seed ^ 0xca11),
            at: 0.0,
        }
    }

    /// The region that most calls are nearest to.
    pub(crate) fn busiest(&self) -> usize {
        let mut load = vec![0.0; self.size.regions];
        for near in &self.near {
            let mut before = 0.0;
            for (function, regions) in self.functions.iter().zip(near) {
                load[usize::from(regions[0])] += function.until - before;
                before = function.until;
            }
        }
        let best = (0..load.len()).max_by(|a, b| load[*a].total_cmp(&load[*b]));
        best.expect("a region")
    }
}

/// Functions by popularity (Zipf), the popular ones deployed widely.
fn functions(size: &Size, random: &mut Random) -> Vec<Function> {
    let total: f64 = (1..=size.functions).map(|n| 1.0 / n as f64).sum();
    let mut until = 0.0;
    let all = 0..size.functions;
    all.map(|n| {
        until += 1.0 / (n + 1) as f64 / total;
        let share = n as f64 / size.functions as f64;
        let regions = match share {
            _ if n == 0 || share < 0.01 => size.regions,
            _ if share < 0.1 => 8,
            _ if share < 0.5 => 4,
            _ => 2,
        };
        let mut slots = vec![None; size.regions];
        let mut left = regions.min(size.regions);
        while left > 0 {
            let region = random.below(size.regions);
            if slots[region].is_none() {
                slots[region] = Some(0);
                left -= 1;
            }
        }
        Function {
            id: FunctionId::from_uuid(Uuid::from_u64_pair(random.next() | 1, random.next())),
            version: VersionId::from_uuid(Uuid::from_u64_pair(random.next() | 1, random.next())),
            mean: 500.0 * random.log_normal(0.5),
            pareto: random.chance(0.3),
            slots,
            until,
        }
    })
    .collect()
}

fn nearest(rtt: &[f64], functions: &[Function]) -> Vec<Vec<u8>> {
    let all = functions.iter().map(|function| {
        let mut here: Vec<u8> = (0_u8..)
            .zip(&function.slots)
            .filter_map(|(region, slots)| slots.map(|_| region))
            .collect();
        here.sort_by(|a, b| rtt[usize::from(*a)].total_cmp(&rtt[usize::from(*b)]));
        here
    });
    all.collect()
}

/// Workers for the demand of those that are nearest, as an operator would have them who knows it.
fn staff(size: &Size, functions: &mut [Function], near: &[Vec<Vec<u8>>], random: &mut Random) {
    let mut before = 0.0;
    for (place, function) in functions.iter_mut().enumerate() {
        let rate = (function.until - before) * size.rate / size.edges as f64;
        before = function.until;
        let mut busy = vec![0.0; size.regions];
        for regions in near {
            busy[usize::from(regions[place][0])] += rate * function.mean / 1000.0;
        }
        let many = function.slots.iter().flatten().count();
        let only = random.chance(size.cold).then(|| random.below(many));
        let wanted = |busy: f64| (busy / size.load).ceil() as u32 + 1;
        let total = wanted(busy.iter().sum());
        let deployed = function.slots.iter_mut().zip(busy);
        for (n, (slots, busy)) in deployed.filter(|(slots, _)| slots.is_some()).enumerate() {
            *slots = Some(match only {
                Some(only) if only == n => total,
                Some(_) => 0,
                None => wanted(busy),
            });
        }
    }
}

// === impl Calls ===

impl Iterator for Calls<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let size = &self.world.size;
        let (edge, at) = loop {
            // Thinned from the highest rate there can be (Lewis and Shedler, 1979).
            let most = size.rate * (1.0 + size.swing);
            self.at += self.random.exponential(1.0 / most);
            if self.at >= size.seconds as f64 {
                return None;
            }
            let edge = self.random.below(size.edges);
            let hour = self.at / size.seconds as f64 + self.world.edges[edge].longitude / 360.0;
            let now = 1.0 + size.swing * (std::f64::consts::TAU * hour).sin();
            if self.random.unit() * (1.0 + size.swing) < now {
                break (edge, self.at);
            }
        };
        let place = self.random.unit();
        let functions = &self.world.functions;
        let function = functions
            .partition_point(|f| f.until < place)
            .min(functions.len() - 1);
        let tail = if functions[function].pareto {
            self.random.pareto(PARETO)
        } else {
            self.random.log_normal_mean(SIGMA)
        };
        Some(Arrival {
            at: (at * 1e6) as u64,
            edge,
            function,
            work: (functions[function].mean * tail.min(60.0) * 1000.0).max(1000.0) as u64,
            repeatable: self.random.chance(REPEATABLE),
        })
    }
}
