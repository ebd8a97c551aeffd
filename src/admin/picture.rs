//! What the status page shows, as JSON: the world of `/regions` with its last minute, functions, and the last decisions.
//!
//! Pure: snapshot, diary and time in, a document out. `events.rs` paints one each second and at each change.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::explain::{Brief, briefs};
use super::regions;
use crate::explain::Diary;
use crate::region::Row;
use crate::table::{Lesson, Snapshot};

/// The last minute, region by region, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct History {
    regions: Vec<Past>,
}

#[derive(Debug, Default)]
struct Past {
    served: u64,
    rtt: VecDeque<Option<f64>>,
    rate: VecDeque<f64>,
}

/// What a region's state is, as far as a change of it is worth a picture at once.
pub(super) type Mark = Vec<(&'static str, bool, &'static str, u64)>;

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Picture<'a> {
    at_ms: u64,
    version: &'static str,
    /// What is missing until calls are welcome.
    missing: &'a [&'static str],
    /// Whether orders are taken at all.
    orders: bool,
    epoch: u64,
    regions: Vec<Region>,
    functions: Functions,
    decisions: Vec<Brief>,
}

#[derive(Debug, Serialize)]
struct Region {
    #[serde(flatten)]
    view: regions::Region,
    /// Of the calls of the last ten seconds, by this edge.
    share: f64,
    /// Calls a second, over the same time.
    rate: f64,
    /// Round-trip times of the last minute, oldest first; null where there was none.
    rtt: Vec<Option<f64>>,
    /// Calls that its workers can run at once, and what is free of that; null if it never told.
    slots: Option<u64>,
    free: Option<u64>,
}

/// The functions that regions tell of.
#[derive(Debug, Default, Serialize)]
struct Functions {
    /// How many there are.
    known: usize,
    /// The busiest of them.
    shown: Vec<Function>,
}

#[derive(Debug, Serialize)]
struct Function {
    id: String,
    in_flight: u32,
    /// Where it is, by the region's place in the list of regions.
    places: Vec<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    region: usize,
    workers: u32,
    slots: u32,
    free: u32,
    queued: u32,
    service_ms: u32,
    /// What live traffic taught, if it is bad.
    lesson: Option<&'static str>,
}

/// How far back the lines go, in seconds.
const MINUTE: usize = 60;
/// Over how many seconds shares are counted.
const SHARE: usize = 10;
/// Functions on the page; the busiest say what there is to say.
const FUNCTIONS: usize = 40;
/// Decisions on the page.
const DECISIONS: usize = 30;

/// What the state of all regions is.
pub(super) fn mark(snapshot: &Snapshot) -> Mark {
    let regions = snapshot.regions.iter();
    regions
        .map(|r| {
            let fault = r.condition.fault.as_str();
            (r.health.as_str(), r.draining, fault, r.weight.to_bits())
        })
        .collect()
}

/// Paints.
pub(super) fn paint<'a>(
    snapshot: &Snapshot,
    history: &History,
    diary: &Diary,
    missing: &'a [&'static str],
    orders: bool,
    now: (Instant, u64),
) -> Picture<'a> {
    let (functions, room) = functions(snapshot);
    let views = regions::view(snapshot, now.0).regions;
    let recent: Vec<f64> = history.regions.iter().map(Past::recent).collect();
    let all: f64 = recent.iter().sum();
    let regions = views.into_iter().zip(room).enumerate();
    Picture {
        at_ms: now.1,
        version: env!("CARGO_PKG_VERSION"),
        missing,
        orders,
        epoch: snapshot.epoch,
        regions: regions
            .map(|(index, (view, room))| {
                let past = history.regions.get(index);
                let rate = recent.get(index).copied().unwrap_or_default();
                Region {
                    view,
                    share: if all > 0.0 { rate / all } else { 0.0 },
                    rate,
                    rtt: past.map_or_else(Vec::new, |p| p.rtt.iter().copied().collect()),
                    slots: room.map(|(slots, _)| slots),
                    free: room.map(|(_, free)| free),
                }
            })
            .collect(),
        functions,
        decisions: briefs(&diary.last(DECISIONS)),
    }
}

/// The busiest functions, and per region slots and free slots of all.
fn functions(snapshot: &Snapshot) -> (Functions, Vec<Option<(u64, u64)>>) {
    let told = snapshot.regions.iter().map(|r| r.trust.map(|_| (0, 0)));
    let mut room: Vec<Option<(u64, u64)>> = told.collect();
    let mut busy: Vec<(u64, u32, String, Row)> = Vec::new();
    for (function, row) in snapshot.catalog.functions() {
        let (mut weight, mut in_flight, mut deployed) = (0, 0, false);
        for (view, room) in snapshot.regions.iter().zip(&mut room) {
            let Some((fact, live)) = view.facts.get(row) else {
                continue;
            };
            in_flight += live.in_flight.load(Ordering::Relaxed);
            if !fact.deployed() {
                continue;
            }
            deployed = true;
            weight += u64::from(fact.slots) + u64::from(fact.queued);
            if let Some((slots, free)) = room {
                *slots += u64::from(fact.slots);
                *free += u64::from(fact.free);
            }
        }
        if deployed {
            busy.push((weight, in_flight, function.to_string(), row));
        }
    }
    let known = busy.len();
    busy.sort_by(|a, b| (b.1, b.0, &a.2).cmp(&(a.1, a.0, &b.2)));
    busy.truncate(FUNCTIONS);
    let shown = busy
        .into_iter()
        .map(|(_, in_flight, id, row)| Function {
            id,
            in_flight,
            places: places(snapshot, row),
        })
        .collect();
    (Functions { known, shown }, room)
}

fn places(snapshot: &Snapshot, row: Row) -> Vec<Place> {
    let regions = snapshot.regions.iter().enumerate();
    regions
        .filter_map(|(region, view)| {
            let (fact, _) = view.facts.get(row)?;
            fact.deployed().then_some(Place {
                region,
                workers: fact.workers.into(),
                slots: fact.slots.into(),
                free: fact.free.into(),
                queued: fact.queued.into(),
                service_ms: if fact.mute() { 0 } else { fact.service_ms },
                lesson: match fact.lesson {
                    Lesson::None => None,
                    Lesson::Broken => Some("fails there"),
                    Lesson::Trial => Some("on trial"),
                    Lesson::Absent => Some("said to be absent"),
                },
            })
        })
        .collect()
}

// === impl History ===

impl History {
    /// Adds what there is after another `passed`, about a second.
    pub(super) fn add(&mut self, snapshot: &Snapshot, passed: Duration) {
        let seconds = passed.as_secs_f64().max(0.001);
        self.regions
            .resize_with(snapshot.regions.len(), Past::default);
        for (past, view) in self.regions.iter_mut().zip(&snapshot.regions) {
            let served = view.endpoints.iter().map(|e| e.tally.served()).sum();
            // An address that left takes its count along.
            let new = u64::saturating_sub(served, past.served);
            past.served = served;
            #[expect(clippy::cast_precision_loss, reason = "calls of one second")]
            push(&mut past.rate, round(new as f64 / seconds));
            push(
                &mut past.rtt,
                view.rtt.map(|rtt| round(rtt.as_secs_f64() * 1000.0)),
            );
        }
    }
}

// === impl Past ===

impl Past {
    /// Calls a second, of late.
    fn recent(&self) -> f64 {
        let rates = self.rate.iter().rev().take(SHARE);
        let count = u32::try_from(rates.len().max(1)).unwrap_or(u32::MAX);
        rates.sum::<f64>() / f64::from(count)
    }
}

fn push<T>(line: &mut VecDeque<T>, value: T) {
    if line.len() >= MINUTE {
        line.pop_front();
    }
    line.push_back(value);
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
