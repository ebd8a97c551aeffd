//! The connections to one endpoint, who waits for more of them, and how far the dial is that brings them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::connection::{Connection, Lease};
use super::pool::DialError;
use crate::region::Endpoint;

/// Connections to one endpoint.
pub(super) struct Group {
    pub(super) endpoint: Endpoint,
    connections: ArcSwap<Vec<Arc<Connection>>>,
    /// The dial under way.
    pub(super) dial: Mutex<Option<watch::Receiver<Dial>>>,
    /// Calls without a place.
    waiting: AtomicUsize,
}

/// How far a dial is: of one connection, or of as many as those who wait need.
#[derive(Default)]
pub(super) struct Dial {
    /// How many it brought so far.
    pub(super) connected: usize,
    /// Its outcome, in the end: an error if nothing connected.
    pub(super) over: Option<Result<(), DialError>>,
}

/// A call counts as waiting as long as this lives.
pub(super) struct Waiting<'a>(&'a Group);

// === impl Group ===

impl Group {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connections: ArcSwap::default(),
            dial: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place on the least loaded connection, and how loaded it was.
    pub(super) fn pick(&self) -> Option<(Lease, usize)> {
        let connections = self.connections.load();
        let least = connections
            .iter()
            .filter_map(|c| Some((c.load()?, c)))
            .min_by_key(|(load, _)| *load);
        let (load, connection) = least?;
        Some((connection.lease()?, load))
    }

    /// Connections that are not on their way out.
    pub(super) fn open(&self) -> usize {
        let connections = self.connections.load();
        connections.iter().filter(|c| !c.is_retired()).count()
    }

    /// How many more connections the calls without a place need, if each carries `streams`, or what the peer allows.
    pub(super) fn wanted(&self, streams: usize) -> usize {
        let connections = self.connections.load();
        let allowed = connections.iter().map(|c| c.allowed());
        let each = allowed.min().unwrap_or(streams).clamp(1, streams.max(1));
        self.waiting.load(Ordering::Relaxed).div_ceil(each)
    }

    pub(super) fn add(&self, connection: &Arc<Connection>) {
        self.connections.rcu(|all| {
            let mut all: Vec<_> = all.iter().filter(|c| !c.is_retired()).cloned().collect();
            all.push(Arc::clone(connection));
            all
        });
    }

    /// Closes one connection that was idle for so many looks in a row, unless it is the only one.
    pub(super) fn prune(&self, looks: u32) {
        let connections = self.connections.load();
        let mut idle = connections.iter().filter(|c| c.idle_for(looks));
        // One at a time is enough: this is called every second.
        if connections.len() > 1
            && let Some(connection) = idle.next_back()
        {
            self.remove(Arc::as_ptr(connection));
        }
    }

    pub(super) fn remove(&self, connection: *const Connection) {
        self.connections.rcu(|all| {
            all.iter()
                .filter(|c| !std::ptr::eq(Arc::as_ptr(c), connection))
                .cloned()
                .collect::<Vec<_>>()
        });
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    pub(super) fn at(group: &'a Group) -> Self {
        group.waiting.fetch_add(1, Ordering::Relaxed);
        Self(group)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
