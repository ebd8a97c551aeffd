//! The picture of the world as JSON, for `/regions`.
//!
//! Pure: a snapshot and the time in, a document out.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use frontdoor_protocol::verdict::Canary;
use serde::Serialize;

use crate::table::{EndpointView, RegionView, Snapshot};

#[derive(Debug, Serialize)]
pub(super) struct World {
    epoch: u64,
    pub(super) regions: Vec<Region>,
}

#[derive(Debug, Serialize)]
pub(super) struct Region {
    name: String,
    health: &'static str,
    draining: bool,
    /// What is wrong, by name.
    fault: &'static str,
    /// What calls of our own through its queue showed.
    canary: Option<&'static str>,
    /// Its queue or workers do not work: it gets calls only when nothing better is left.
    sick: bool,
    others: Others,
    weight: f64,
    ramp: f64,
    /// The share of calls that surely fails there.
    risk: f64,
    rtt_ms: Option<f64>,
    in_flight: u32,
    served: u64,
    endpoints: Vec<Endpoint>,
    /// How much what it told of its functions still counts; none if it never told of all.
    trust: Option<f64>,
    report: Option<Report>,
}

/// How many other edges see it so.
#[derive(Debug, Serialize)]
struct Others {
    well: usize,
    unwell: usize,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    address: SocketAddr,
    health: &'static str,
    /// DNS names it no more.
    dropped: bool,
    rtt_ms: Option<f64>,
    in_flight: u32,
    served: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    age_ms: u64,
    queued: u64,
    running: u64,
}

pub(super) fn view(snapshot: &Snapshot, now: Instant) -> World {
    World {
        epoch: snapshot.epoch,
        regions: snapshot.regions.iter().map(|r| region(r, now)).collect(),
    }
}

fn region(view: &RegionView, now: Instant) -> Region {
    let endpoints: Vec<Endpoint> = view.endpoints.iter().map(endpoint).collect();
    Region {
        name: view.name.to_string(),
        health: view.health.as_str(),
        draining: view.draining,
        fault: view.condition.fault.as_str(),
        canary: view.condition.canary.map(Canary::as_str),
        sick: view.condition.sick,
        others: Others {
            well: view.condition.others.0,
            unwell: view.condition.others.1,
        },
        weight: view.weight,
        ramp: view.ramp,
        risk: view.risk,
        rtt_ms: view.rtt.map(millis),
        in_flight: endpoints.iter().map(|e| e.in_flight).sum(),
        served: endpoints.iter().map(|e| e.served).sum(),
        endpoints,
        trust: view.trust,
        report: view.heard.map(|heard| Report {
            age_ms: u64::try_from(now.saturating_duration_since(heard.at).as_millis())
                .unwrap_or(u64::MAX),
            queued: heard.queued,
            running: heard.running,
        }),
    }
}

fn endpoint(view: &EndpointView) -> Endpoint {
    Endpoint {
        address: view.address,
        health: view.health.as_str(),
        dropped: view.dropped,
        rtt_ms: view.rtt.map(millis),
        in_flight: view.tally.in_flight.load(Ordering::Relaxed),
        served: view.tally.served(),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
