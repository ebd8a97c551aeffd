//! One region as the table keeps it: endpoints, what its services said, what live traffic taught, what operators want.
//!
//! Pure. Changed by [`Table::apply`](super::Table::apply) only; read as a [`RegionView`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use frontdoor_protocol::names::RegionName;

use super::breaker::Breaker;
use super::event::{Order, Transition, Trouble};
use super::facts::{self, Column, Fact, Lesson};
use super::health::{Miss, Monitor};
use super::hearing::Hearing;
use super::latency::Latency;
use super::risk::Risk;
use super::snapshot::{EndpointView, RegionView};
use super::{Condition, Limits, addresses, freshness};
use crate::region::{Endpoint, Health, RegionIndex, Row, Tally};

/// The most functions of a region about which live traffic's lessons are kept.
const LESSONS: usize = 1024;

#[derive(Debug)]
pub(super) struct RegionState {
    pub(super) name: RegionName,
    key: u64,
    weight: f64,
    /// The weight that an operator ordered; it goes before the configured one.
    ordered: Option<f64>,
    drained: bool,
    /// Whether it drained when last looked at, and since when it does not any more.
    leaving: bool,
    returned: Option<Instant>,
    pub(super) endpoints: Vec<EndpointState>,
    pub(super) hearing: Hearing,
    pub(super) column: Arc<Column>,
    lessons: HashMap<Row, Breaker>,
}

#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) address: SocketAddr,
    pub(super) monitor: Monitor,
    pub(super) latency: Latency,
    pub(super) risk: Risk,
    pub(super) tally: Arc<Tally>,
    /// Since when DNS names it no more.
    pub(super) dropped: Option<Instant>,
    /// How it failed last, if no check was answered well since.
    pub(super) trouble: Option<Trouble>,
}

/// What live traffic saw of one function in the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Fault,
    /// Nobody was there to run it.
    Idle,
    Absent,
}

// === impl RegionState ===

impl RegionState {
    pub(super) fn new(name: RegionName, weight: f64) -> Self {
        Self {
            key: name.key(),
            name,
            weight,
            ordered: None,
            drained: false,
            leaving: false,
            returned: None,
            endpoints: Vec::new(),
            hearing: Hearing::default(),
            column: Arc::default(),
            lessons: HashMap::new(),
        }
    }

    /// The configuration says another weight.
    pub(super) fn configured(&mut self, weight: f64) {
        self.weight = weight;
    }

    pub(super) fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Weight(weight) => self.ordered = Some(weight.max(0.0)),
            Order::Drain => self.drained = true,
            Order::Undrain => self.drained = false,
        }
        self.notice_draining(now);
    }

    /// Takes an answer of DNS; an empty one says nothing.
    pub(super) fn resolved(&mut self, addresses: &[SocketAddr], now: Instant) {
        if !addresses.is_empty() {
            addresses::answered(&mut self.endpoints, addresses, now);
        }
    }

    /// Remembers when the region drains: what then goes away does so by plan, and what comes back ramps up.
    pub(super) fn notice_draining(&mut self, now: Instant) {
        let draining = self.draining(now);
        if self.leaving && !draining {
            self.returned = Some(now);
        }
        self.leaving = draining;
        if draining {
            for endpoint in &mut self.endpoints {
                endpoint.monitor.leaves(now);
            }
        }
    }

    /// Live traffic saw something of a function.
    pub(super) fn learn(&mut self, row: Row, seen: Seen, now: Instant) {
        if self.lessons.len() >= LESSONS && !self.lessons.contains_key(&row) {
            return;
        }
        let sent = self.sent(row);
        // The call that taught this was sent before.
        let staffed = self.column.fact(row).staffed();
        let new = || Breaker::new(now, sent.wrapping_sub(1), staffed);
        let breaker = self.lessons.entry(row).or_insert_with(new);
        match seen {
            Seen::Fault => breaker.fault(sent, now),
            Seen::Idle => breaker.idle(sent, now),
            Seen::Absent => breaker.absent(now),
        }
        let lesson = breaker.lesson();
        self.teach(row, lesson);
    }

    /// Facts changed by a report: one that came to be deployed is not absent, and workers that came are there.
    pub(super) fn reported(&mut self, rows: impl IntoIterator<Item = Row>) {
        if self.lessons.is_empty() {
            return;
        }
        for row in rows {
            let fact = self.column.fact(row);
            let Some(breaker) = self.lessons.get_mut(&row) else {
                continue;
            };
            if fact.lesson != Lesson::Absent {
                breaker.deployed();
            }
            breaker.reported(fact.staffed());
            let lesson = breaker.lesson();
            self.teach(row, lesson);
        }
    }

    /// Makes a row the sum of others, as far as they are reported here.
    pub(super) fn sum_up(&mut self, sum: Row, parts: &[Row]) {
        let facts = parts.iter().map(|row| self.column.fact(*row));
        let Some(mut fact) = facts.filter(Fact::deployed).reduce(Fact::and) else {
            let lesson = self.column.fact(sum).lesson;
            facts::set(
                &mut self.column,
                sum,
                Fact {
                    lesson,
                    ..Fact::default()
                },
            );
            return;
        };
        fact.lesson = self.column.fact(sum).lesson;
        fact.base = self.column.in_flight(sum);
        facts::set(&mut self.column, sum, fact);
    }

    /// Lets time take effect on what was learnt.
    pub(super) fn tick(&mut self, now: Instant) {
        self.notice_draining(now);
        let mut lessons = std::mem::take(&mut self.lessons);
        lessons.retain(|row, breaker| {
            breaker.tick(self.sent(*row), now);
            self.teach(*row, breaker.lesson());
            !breaker.is_idle(now)
        });
        self.lessons = lessons;
    }

    pub(super) fn view(&self, now: Instant, limits: &Limits) -> RegionView {
        let endpoints: Vec<EndpointView> = self
            .endpoints
            .iter()
            .map(|e| EndpointView {
                address: e.address,
                health: e.monitor.health(),
                rtt: e.latency.value(),
                tally: Arc::clone(&e.tally),
                dropped: e.dropped.is_some(),
                risk: e.risk.chance(now),
                // What is down has a name already.
                grey: e.monitor.health() != Health::Down && e.risk.is_grey(),
            })
            .collect();
        let health = endpoints.iter().map(|e| e.health).max();
        let health = health.unwrap_or(Health::Down);
        let best = self
            .endpoints
            .iter()
            .filter(|e| e.monitor.health() == health);
        let ramp = best
            .clone()
            .map(|e| e.monitor.weight(now, limits))
            .fold(limits.ramp_floor, f64::max);
        let usable = endpoints.iter().filter(|e| e.health == health);
        let surest = usable.min_by(|a, b| a.risk.total_cmp(&b.risk));
        let (risk, grey) = surest.map_or((0.0, false), |e| (e.risk, e.grey));
        let sure = self.hearing.sure();
        RegionView {
            tag: self.name.tag(),
            name: self.name.clone(),
            key: self.key,
            health,
            draining: self.draining(now),
            weight: self.ordered.unwrap_or(self.weight),
            ramp: ramp.min(self.back(now, limits)),
            rtt: best.filter_map(|e| e.latency.value()).min(),
            risk,
            grey,
            endpoints,
            heard: self.hearing.view(),
            condition: Condition::default(),
            facts: Arc::clone(&self.column),
            trust: sure.map(|at| freshness::trust(now.saturating_duration_since(at))),
        }
    }

    fn draining(&self, now: Instant) -> bool {
        self.drained || self.hearing.draining(now)
    }

    /// The share of a region that came back from draining.
    fn back(&self, now: Instant, limits: &Limits) -> f64 {
        let since = |at| now.saturating_duration_since(at);
        match self.returned.map(since) {
            Some(age) if age < limits.ramp => {
                (age.as_secs_f64() / limits.ramp.as_secs_f64()).max(limits.ramp_floor)
            }
            _ => 1.0,
        }
    }

    /// Calls of this edge to a function here, ever.
    fn sent(&self, row: Row) -> u32 {
        let live = self.column.get(row);
        live.map_or(0, |(_, live)| live.sent.load(Ordering::Relaxed))
    }

    fn teach(&mut self, row: Row, lesson: Lesson) {
        let mut fact = self.column.fact(row);
        fact.lesson = lesson;
        facts::set(&mut self.column, row, fact);
    }
}

// === impl EndpointState ===

impl EndpointState {
    /// Changes it, and reports a change of its health.
    pub(super) fn change(
        &mut self,
        region: RegionIndex,
        change: impl FnOnce(&mut Self),
    ) -> Option<Transition> {
        let from = self.monitor.health();
        change(self);
        let to = self.monitor.health();
        if from != to && (from == Health::Down || to == Health::Down) {
            // What it was like before says nothing of what it is like after.
            self.risk.forget();
        }
        let endpoint = Endpoint {
            region,
            address: self.address,
        };
        let why = self.trouble.filter(|_| to < Health::Ramp);
        (from != to).then_some(Transition {
            endpoint,
            from,
            to,
            why,
        })
    }

    /// A new round-trip time, well answered.
    pub(super) fn good(&mut self, rtt: Duration, now: Instant, limits: &Limits) {
        self.trouble = None;
        self.latency.sample(rtt, now);
        self.risk.checked(now);
        self.monitor.good(now, limits);
    }

    /// A check that was answered badly, or by a refusal.
    pub(super) fn refused(&mut self, trouble: Trouble, now: Instant, limits: &Limits) {
        self.trouble = Some(trouble);
        self.failed(now);
        self.monitor.miss(Miss::Certain, now, limits);
    }

    /// A check that was not answered in time.
    pub(super) fn silent(&mut self, now: Instant, limits: &Limits) {
        self.trouble = Some(Trouble::Silent);
        self.monitor.miss(Miss::Silent, now, limits);
    }

    /// A check or a call that failed by the platform's fault.
    fn failed(&mut self, now: Instant) {
        self.risk.failed(self.tally.served(), now);
    }

    /// A call that failed by the platform's fault.
    pub(super) fn bad(&mut self, trouble: Trouble, now: Instant, limits: &Limits) {
        self.trouble = Some(trouble);
        self.failed(now);
        self.monitor.served(0, 1, now, limits);
    }

    pub(super) fn tick(&mut self, now: Instant, limits: &Limits) {
        self.risk.tick(now);
        self.monitor.tick(now, limits);
    }
}
