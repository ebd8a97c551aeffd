//! The simulation itself: a queue of events, the world they happen to, and one policy that chooses.
//!
//! Time is in microseconds. What happens at regions is in `region.rs`, who chooses in `edge.rs` and `baseline.rs`.

mod calls;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use frontdoor::route::{Failure, RetryBudget};
use frontdoor::table::{ProbeOutcome, ServedOutcome};
use frontdoor_protocol::report::Report;

use self::calls::Call;
use crate::baseline::{Chooser, Plain};
use crate::edge::Edge;
use crate::random::Random;
use crate::region::{Life, Region};
use crate::scenario::{Bus, Change, Scenario};
use crate::score::Score;
use crate::world::{Arrival, Calls, World};

enum Event {
    Come,
    Change(Change),
    Arrive(usize, u32),
    First(usize, u32),
    Release(usize, usize, u64),
    Done(usize, u32),
    Fail(usize, u32, Failure, ServedOutcome),
    Speak(usize),
    Hear(usize, Rc<Report>),
    Tick(usize),
}

/// One run.
pub(crate) struct Run<'a> {
    world: &'a World,
    chooser: Chooser,
    regions: Vec<Region>,
    edges: Vec<Edge>,
    plain: Vec<Plain>,
    budgets: Vec<(RetryBudget, u64, u64)>,
    loads: Vec<Vec<f32>>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    spare: Vec<usize>,
    order: u64,
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
    coming: Calls<'a>,
    next: Option<Arrival>,
    random: Random,
    bus: Bus,
    bus_works: bool,
    last: Vec<Vec<u8>>,
    now: u64,
    pub(crate) score: Score,
}

/// How often regions speak of what changed, edges check, and both look at the time.
const STEP: u64 = 250_000;
/// After so long without an answer to a ping a connection is lost.
const PING: u64 = 1_500_000;
/// After so long after the last call all must have ended.
const FOREVER: u64 = 3_600_000_000;

// === impl Run ===

impl<'a> Run<'a> {
    pub(crate) fn new(world: &'a World, scenario: Scenario, chooser: Chooser, seed: u64) -> Self {
        let (start, size) = (Instant::now(), &world.size);
        let ours = if chooser == Chooser::Ours {
            size.edges
        } else {
            0
        };
        let mut run = Self {
            world,
            chooser,
            regions: Region::all(world),
            edges: (0..ours).map(|_| Edge::new(world, start)).collect(),
            plain: (0..size.edges)
                .map(|edge| Plain::new(world, edge))
                .collect(),
            budgets: (0..size.edges)
                .map(|_| (RetryBudget::default(), 0, 0))
                .collect(),
            loads: vec![vec![0.0; world.functions.len()]; size.regions],
            queue: BinaryHeap::new(),
            events: Vec::new(),
            spare: Vec::new(),
            order: 0,
            calls: Vec::new(),
            free: Vec::new(),
            coming: world.calls(seed),
            next: None,
            random: Random::new(seed ^ 0x51ed),
            bus: scenario.bus(),
            bus_works: true,
            last: vec![vec![u8::MAX; world.functions.len()]; size.edges],
            now: 0,
            score: Score::new(size.regions, size.seconds),
        };
        for (at, change) in scenario.changes(world, seed) {
            run.at(at, Event::Change(change));
        }
        for region in 0..size.regions {
            let phase = run.random.next() % STEP;
            run.at(phase, Event::Speak(region));
        }
        for edge in 0..size.edges {
            let phase = run.random.next() % STEP;
            run.at(phase, Event::Tick(edge));
        }
        run.come_next();
        run
    }

    /// Until the last call has ended.
    pub(crate) fn run(mut self) -> Score {
        let end = self.world.size.seconds * 1_000_000;
        while let Some(Reverse((at, _, place))) = self.queue.pop() {
            self.now = at;
            self.spare.push(place);
            let event = self.events[place].take().expect("an event");
            let ended = self.next.is_none() && self.free.len() == self.calls.len();
            if at > end && ended {
                break;
            }
            if at > end + FOREVER {
                self.broken("a call never ends".to_owned());
                break;
            }
            self.happen(event);
        }
        self.score
    }

    fn at(&mut self, at: u64, event: Event) {
        let place = self.spare.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.order += 1;
        self.queue.push(Reverse((at, self.order, place)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Come => self.come(),
            Event::Change(change) => self.change(change),
            Event::Arrive(id, attempt) => self.arrive(id, attempt),
            Event::First(id, attempt) => self.first(id, attempt),
            Event::Release(region, function, work) => self.regions[region].release(function, work),
            Event::Done(id, attempt) => {
                if self.current(id, attempt) {
                    self.end(id);
                }
            }
            Event::Fail(id, attempt, failure, outcome) => {
                if self.current(id, attempt) {
                    self.fail(id, failure, outcome);
                }
            }
            Event::Speak(region) => self.speak(region),
            Event::Hear(edge, report) => self.edges[edge].heard(&report, self.now),
            Event::Tick(edge) => self.tick(edge),
        }
    }

    fn current(&self, id: usize, attempt: u32) -> bool {
        self.calls[id]
            .as_ref()
            .is_some_and(|call| call.attempt == attempt)
    }

    fn speak(&mut self, region: usize) {
        self.at(self.now + STEP, Event::Speak(region));
        let step = self.now / STEP;
        if !self.bus_works {
            return;
        }
        if self.chooser == Chooser::LeastLoaded && step.is_multiple_of(4) {
            for function in 0..self.world.functions.len() {
                let standing = self.regions[region].standing(function, self.now);
                self.loads[region][function] =
                    standing.map_or(f32::INFINITY, |(slots, free, queued)| {
                        (slots - free + queued) as f32 / slots.max(1) as f32
                            + if slots == 0 { 100.0 } else { 0.0 }
                    });
            }
        }
        if self.edges.is_empty() {
            return;
        }
        let (full, beat) = (step.is_multiple_of(20) || step < 2, step.is_multiple_of(4));
        let report = self.regions[region].report(self.world, full, beat, self.now);
        let Some(report) = report.map(Rc::new) else {
            return;
        };
        for edge in 0..self.edges.len() {
            let copies = 1 + usize::from(self.random.chance(self.bus.doubled));
            for _ in 0..copies {
                if !self.random.chance(self.bus.lost) {
                    let late = self.random.exponential(self.bus.late_ms) * 1000.0;
                    let at = self.now + self.way(edge, region) + late as u64;
                    self.at(at, Event::Hear(edge, Rc::clone(&report)));
                }
            }
        }
    }

    fn tick(&mut self, edge: usize) {
        self.at(self.now + STEP, Event::Tick(edge));
        self.budgets[edge].0.refill(Duration::from_micros(STEP));
        let step = self.now / STEP;
        let every = if self.chooser == Chooser::Dns { 40 } else { 4 };
        if step.is_multiple_of(every) {
            for region in 0..self.regions.len() {
                let state = &self.regions[region];
                let well = state.life == Life::Up && !state.draining;
                let broke = self.breaks(region);
                self.plain[edge].checked(region, well && !broke);
            }
        }
        if self.edges.is_empty() {
            return;
        }
        let checks: Vec<(usize, ProbeOutcome)> = (0..self.regions.len())
            .map(|region| {
                let there_and_back = self.way(edge, region) + self.way(edge, region);
                let broke = self.breaks(region);
                let outcome = match self.regions[region].life {
                    Life::Up if broke => ProbeOutcome::Bad,
                    Life::Up => ProbeOutcome::Good(Duration::from_micros(there_and_back)),
                    Life::Killed => ProbeOutcome::Bad,
                    Life::Hung => ProbeOutcome::Silent,
                };
                (region, outcome)
            })
            .collect();
        self.edges[edge].tick(checks.into_iter(), self.now);
    }

    /// Whether a grey region's connection breaks under a check, as it does under half of the calls that fail there.
    fn breaks(&mut self, region: usize) -> bool {
        let grey = self.regions[region].grey;
        grey > 0.0 && self.random.chance(grey / 2.0)
    }

    /// One way between an edge and a region, this time.
    fn way(&mut self, edge: usize, region: usize) -> u64 {
        (self.world.rtt[edge][region] * 500.0 * self.random.log_normal(0.05)) as u64
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Life(region, life) => self.live(region, life),
            Change::Grey(region, share) => self.regions[region].grey = share,
            Change::Bus(works) => self.bus_works = works,
            Change::Lies(region, lying) => self.regions[region].lying = lying,
            Change::Drain(region, draining) => self.regions[region].draining = draining,
            Change::Deploy(region, function, here) => {
                let known = &self.world.functions[function];
                let slots = known.slots[region].filter(|_| here);
                self.regions[region].deploy(function, slots, known.mean);
            }
        }
    }

    fn live(&mut self, region: usize, life: Life) {
        let place = &mut self.regions[region];
        place.life = life;
        if life == Life::Up {
            place.restart();
            return;
        }
        for id in 0..self.calls.len() {
            let Some(call) = self.calls[id].as_mut() else {
                continue;
            };
            if call.region == region && call.admitted {
                // What it would have said comes no more.
                call.admitted = false;
                call.attempt = call.attempt.wrapping_add(1);
                let (attempt, edge) = (call.attempt, call.came.edge);
                let until = if life == Life::Killed {
                    self.way(edge, region)
                } else {
                    PING
                };
                let lost = Event::Fail(id, attempt, Failure::Lost, ServedOutcome::Broke);
                self.at(self.now + until, lost);
            }
        }
    }

    fn broken(&mut self, what: String) {
        if self.score.broken.len() < 10 {
            self.score
                .broken
                .push(format!("at {} ms: {what}", self.now / 1000));
        }
    }
}
