//! The life of a call: it comes, is sent, is refused or worked on, answers, fails, moves, ends.

use std::time::Duration;

use frontdoor::region::{Flight, RegionIndex};
use frontdoor::route::{Circumstances, Failure, Next, Policy, Tried, after};
use frontdoor::table::ServedOutcome;

use super::{Event, PING, Run};
use crate::baseline::{Chooser, Question, oracle};
use crate::region::Life;
use crate::world::Arrival;

/// A call on its way.
pub(super) struct Call {
    pub(super) came: Arrival,
    pub(super) region: usize,
    /// Grows with each attempt: events of an earlier one mean nothing.
    pub(super) attempt: u32,
    pub(super) moves: u8,
    pub(super) tried: Tried,
    pub(super) flight: Option<Flight>,
    pub(super) sent: u64,
    pub(super) arrives: u64,
    /// Counted by the edge as on its way.
    pub(super) flying: bool,
    pub(super) admitted: bool,
    pub(super) answered: bool,
    pub(super) executions: u32,
}

/// The first byte of an answer leaves after this share of the work: most of it is the rest of a stream.
const FIRST: f64 = 0.2;
/// How long a first worker takes to start.
const COLD: u64 = 10_000_000;
/// How long callers wait.
const PATIENCE: u64 = 60_000_000;
/// Seconds at the start that are not judged: tables are empty.
const WARM: u64 = 5_000_000;

// === impl Run ===

impl Run<'_> {
    pub(super) fn come_next(&mut self) {
        self.next = self.coming.next();
        if let Some(arrival) = self.next {
            self.at(arrival.at, Event::Come);
        }
    }

    pub(super) fn come(&mut self) {
        let Some(came) = self.next else { return };
        self.come_next();
        let id = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() - 1
        });
        self.order += 1;
        self.calls[id] = Some(Call {
            came,
            region: 0,
            // Never the same for two calls in one place.
            attempt: (self.order as u32).wrapping_mul(16),
            moves: 0,
            tried: Tried::default(),
            flight: None,
            sent: 0,
            arrives: 0,
            flying: false,
            admitted: false,
            answered: false,
            executions: 0,
        });
        if came.at >= WARM {
            self.score.calls += 1;
        }
        let budget = &mut self.budgets[came.edge];
        budget.0.deposit();
        budget.1 += 1;
        self.send(id);
    }

    /// The next attempt of a call.
    pub(super) fn send(&mut self, id: usize) {
        let Some(mut call) = self.calls[id].take() else {
            return;
        };
        let (edge, function) = (call.came.edge, call.came.function);
        let Some(region) = self.choose(&call) else {
            self.calls[id] = Some(call);
            self.give_up(id);
            return;
        };
        let near = &self.world.near[edge][function];
        let known = &self.world.functions[function];
        if call.moves == 0 {
            let last = std::mem::replace(&mut self.last[edge][function], region as u8);
            self.score.switches += u64::from(last != u8::MAX && usize::from(last) != region);
            let second = (self.now / 1_000_000).min(self.world.size.seconds) as usize;
            self.score.came[region][second] += 1;
            self.score.spilt[region][second] += u32::from(usize::from(near[0]) != region);
        }
        call.region = region;
        call.attempt = call.attempt.wrapping_add(1);
        call.tried.add(RegionIndex(region));
        call.flight = self.edges.get(edge).map(|edge| edge.depart(region, known));
        call.sent = self.now;
        call.arrives = self.now + self.way(edge, region);
        call.admitted = false;
        call.flying = true;
        self.plain[edge].sent(region);
        self.regions[region].expect(function, call.arrives, call.came.work);
        self.at(call.arrives, Event::Arrive(id, call.attempt));
        self.calls[id] = Some(call);
    }

    fn choose(&mut self, call: &Call) -> Option<usize> {
        let (edge, function) = (call.came.edge, call.came.function);
        let question = Question {
            near: &self.world.near[edge][function],
            rtt: &self.world.rtt[edge],
            function,
            tried: &call.tried,
            now: self.now,
        };
        match self.chooser {
            Chooser::Ours => self.ours(call),
            Chooser::Oracle => oracle(&question, &self.regions, COLD),
            other => self.plain[edge].choose(other, &question, &self.loads, &mut self.random),
        }
    }

    /// What production says, held to its promises.
    fn ours(&mut self, call: &Call) -> Option<usize> {
        let function = &self.world.functions[call.came.function];
        let seed = self.random.next();
        let edge = &mut self.edges[call.came.edge];
        let chosen = edge.choose(function, &call.tried, seed, self.now).ok();
        let fault = match chosen {
            Some(region) if edge.sees_draining(region) && edge.sees_well(function, &call.tried) => {
                Some("went to a draining region while another is up")
            }
            None if edge.has_open(function, &call.tried) => {
                Some("found no region while one is left")
            }
            _ => None,
        };
        if let Some(fault) = fault {
            self.broken(fault.to_owned());
        }
        chosen
    }

    pub(super) fn arrive(&mut self, id: usize, attempt: u32) {
        if !self.current(id, attempt) {
            return;
        }
        let Some(mut call) = self.calls[id].take() else {
            return;
        };
        let (region, function, work) = (call.region, call.came.function, call.came.work);
        let back = self.way(call.came.edge, region);
        let luck = self.random.unit();
        let now = self.now;
        let place = &mut self.regions[region];
        place.came(function, call.arrives);
        let refused = match place.life {
            Life::Killed => Some((Failure::Unreachable, ServedOutcome::Unreachable, back)),
            Life::Hung => Some((Failure::Lost, ServedOutcome::Broke, PING)),
            Life::Up if place.draining => {
                Some((Failure::NotStarted, ServedOutcome::Declined, back))
            }
            Life::Up if !place.has(function) => {
                Some((Failure::NotStarted, ServedOutcome::NotHere, back))
            }
            Life::Up if luck < place.grey / 2.0 => {
                Some((Failure::NotStarted, ServedOutcome::Declined, back))
            }
            Life::Up if luck < place.grey => Some((Failure::Lost, ServedOutcome::Broke, back)),
            Life::Up => None,
        };
        if let Some((failure, outcome, after)) = refused {
            self.at(now + after, Event::Fail(id, attempt, failure, outcome));
        } else if let Some(start) = place.admit(function, work, COLD, now) {
            call.admitted = true;
            call.executions += 1;
            let first = start + (work as f64 * FIRST) as u64 + back;
            self.at(first, Event::First(id, attempt));
            self.at(start + work, Event::Release(region, function, work));
            self.at(start + work + back, Event::Done(id, attempt));
        }
        self.calls[id] = Some(call);
    }

    pub(super) fn first(&mut self, id: usize, attempt: u32) {
        if !self.current(id, attempt) {
            return;
        }
        let Some(call) = self.calls[id].as_mut() else {
            return;
        };
        call.answered = true;
        if let Some(flight) = &call.flight {
            flight.answered();
        }
        let (edge, region) = (call.came.edge, call.region);
        let took = (self.now - call.came.at) as f64 / 1000.0;
        let attempt = (self.now - call.sent) as f64 / 1000.0;
        let work = call.came.work as f64 * FIRST / 1000.0;
        let late = self.now - call.came.at > PATIENCE;
        let judged = call.came.at >= WARM;
        self.plain[edge].answered(region, attempt, self.now);
        if judged {
            self.score.failed += u64::from(late);
            self.score.first.push(took as f32);
            self.score.overhead.push((took - work) as f32);
        }
    }

    pub(super) fn fail(&mut self, id: usize, failure: Failure, outcome: ServedOutcome) {
        let Some(call) = self.calls[id].as_mut() else {
            return;
        };
        let (edge, function, region) = (call.came.edge, call.came.function, call.region);
        call.flight = None;
        call.flying = false;
        self.plain[edge].ended(region);
        self.plain[edge].failed(region, self.now);
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.failed(region, &self.world.functions[function], outcome, self.now);
        }
        let waited = self.now - call.came.at;
        let circumstances = Circumstances {
            moves: call.moves,
            moves_allowed: Policy::default().moves,
            repeatable: call.came.repeatable,
            body_at_hand: true,
            answer_begun: call.answered,
            time_left: Duration::from_micros(PATIENCE.saturating_sub(waited)),
        };
        let budget = &mut self.budgets[edge];
        let next = after(failure, &circumstances, || budget.0.withdraw());
        if next == Next::Elsewhere {
            budget.2 += 1;
            call.moves += 1;
            self.score.moves += 1;
            let (came, moved) = (budget.1, budget.2);
            let most = 100.0 + 0.2 * came as f64 + 3.0 * (self.now as f64 / 1e6 + 1.0);
            if moved as f64 > most {
                self.broken(format!("{moved} moves of {came} calls"));
            }
            let call = self.calls[id].as_ref();
            if call.is_some_and(|c| c.executions > 0 && !c.came.repeatable) {
                self.broken("a call moved that had begun and may not run twice".to_owned());
            }
            self.send(id);
        } else {
            self.give_up(id);
        }
    }

    pub(super) fn give_up(&mut self, id: usize) {
        if let Some(call) = &self.calls[id] {
            self.score.failed += u64::from(call.came.at >= WARM && !call.answered);
        }
        self.end(id);
    }

    pub(super) fn end(&mut self, id: usize) {
        if let Some(call) = self.calls[id].take() {
            if call.executions > 1 && !call.came.repeatable {
                self.broken("a call ran twice".to_owned());
            }
            if call.flying {
                self.plain[call.came.edge].ended(call.region);
            }
            self.free.push(id);
        }
    }
}
