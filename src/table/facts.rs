//! What is known of every function in one region: a column of facts, one per row of the catalog.
//!
//! Pure. Columns are shared with snapshots and copied by chunks, and only those that change: a delta copies a few
//! kilobytes, a report that changes nothing copies nothing. Beside the facts live two counters per row, shared by all
//! snapshots, in which calls of this edge count themselves without a lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::region::{Live, Row};

/// Rows in a chunk.
const CHUNK: usize = 64;

/// One function in one region. Sixteen bytes, so that a decision among many regions touches little memory: counts end at
/// 65,535, which is more than any caller's edge lets through at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// How many of the region's services say that it is deployed; 0 is not deployed.
    pub(super) speakers: u8,
    /// What live traffic taught.
    pub lesson: Lesson,
    /// Live workers.
    pub workers: u16,
    /// Calls they can run at once.
    pub slots: u16,
    /// Of these, free ones.
    pub free: u16,
    /// Calls that wait, in all services of the region together.
    pub queued: u16,
    /// Calls of this edge that were in flight when the fact was heard: what came since is not in it.
    pub base: u16,
    /// Mean time of a call; 0 is not known, `u32::MAX` that its workers tell nothing of themselves ([`Fact::mute`]).
    pub service_ms: u32,
}

/// Stands for a mean time where workers do not tell (NVIDIA's): there may be any number of them.
pub(super) const MUTE: u32 = u32::MAX;

/// What live traffic taught about one function in one region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lesson {
    /// Nothing bad.
    #[default]
    None,
    /// It failed too often by the platform's fault, and is used only when nothing better is left.
    Broken,
    /// It was broken, and gets a small share to show that it is not any more.
    Trial,
    /// The region says that it is not deployed there.
    Absent,
}

/// All facts of a region.
#[derive(Debug, Clone, Default)]
pub struct Column {
    chunks: Vec<Option<Chunk>>,
}

/// The two ways stand side by side, so that a decision follows both at once.
#[derive(Debug, Clone)]
struct Chunk {
    facts: Arc<[Fact; CHUNK]>,
    live: Arc<[Live; CHUNK]>,
}

// === impl Fact ===

impl Fact {
    /// Whether any of the region's services has it.
    #[must_use]
    pub const fn deployed(&self) -> bool {
        self.speakers > 0
    }

    /// Whether it has workers, by what was reported.
    #[must_use]
    pub const fn staffed(&self) -> bool {
        self.slots > 0
    }

    /// Whether nothing can be known of its workers.
    #[must_use]
    pub const fn mute(&self) -> bool {
        self.slots == 0 && self.service_ms == MUTE
    }

    /// Several versions as one function: what any of them can do.
    pub(super) fn and(self, other: Self) -> Self {
        let slots = self.slots.saturating_add(other.slots);
        let (mine, its) = (
            u64::from(self.service_ms) * u64::from(self.slots),
            u64::from(other.service_ms) * u64::from(other.slots),
        );
        let mean = (mine + its).checked_div(u64::from(slots));
        let either = self.service_ms.max(other.service_ms);
        Self {
            speakers: self.speakers.max(other.speakers),
            lesson: self.lesson,
            workers: self.workers.saturating_add(other.workers),
            slots,
            free: self.free.saturating_add(other.free),
            queued: self.queued.saturating_add(other.queued),
            service_ms: mean.map_or(either, |mean| u32::try_from(mean).unwrap_or(u32::MAX)),
            base: self.base,
        }
    }
}

// === impl Column ===

impl Column {
    /// The fact of a row, and its counters.
    #[must_use]
    #[inline]
    pub fn get(&self, row: Row) -> Option<(&Fact, &Live)> {
        let (chunk, place) = split(row);
        let chunk = self.chunks.get(chunk)?.as_ref()?;
        Some((&chunk.facts[place], &chunk.live[place]))
    }

    /// The counters of a row's chunk, and the row's place among them.
    #[must_use]
    pub fn live(&self, row: Row) -> Option<(Arc<[Live]>, usize)> {
        let (chunk, place) = split(row);
        let chunk = self.chunks.get(chunk)?.as_ref()?;
        let live: Arc<[Live; CHUNK]> = Arc::clone(&chunk.live);
        Some((live, place))
    }

    pub(super) fn fact(&self, row: Row) -> Fact {
        self.get(row).map(|(fact, _)| *fact).unwrap_or_default()
    }

    /// Calls of this edge that are in flight.
    pub(super) fn in_flight(&self, row: Row) -> u16 {
        self.get(row).map_or(0, |(_, live)| {
            narrow(live.in_flight.load(Ordering::Relaxed))
        })
    }
}

/// Changes a fact; copies what a snapshot still reads, and nothing if nothing changes.
pub(super) fn set(column: &mut Arc<Column>, row: Row, fact: Fact) {
    if column.fact(row) == fact {
        return;
    }
    let (chunk, place) = split(row);
    let chunks = &mut Arc::make_mut(column).chunks;
    if chunks.len() <= chunk {
        chunks.resize(chunk + 1, None);
    }
    let chunk = chunks[chunk].get_or_insert_with(|| Chunk {
        facts: Arc::new([Fact::default(); CHUNK]),
        live: Arc::new(std::array::from_fn(|_| Live::default())),
    });
    Arc::make_mut(&mut chunk.facts)[place] = fact;
}

/// A count as a fact keeps it.
pub(super) fn narrow(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[inline]
const fn split(row: Row) -> (usize, usize) {
    (row.0 as usize / CHUNK, row.0 as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_one_chunk_and_no_change_none() {
        let mut column = Arc::<Column>::default();
        for row in 0..200 {
            set(
                &mut column,
                Row(row),
                Fact {
                    speakers: 1,
                    ..Fact::default()
                },
            );
        }
        let seen = Arc::clone(&column);
        set(
            &mut column,
            Row(70),
            Fact {
                speakers: 1,
                ..Fact::default()
            },
        );
        assert!(Arc::ptr_eq(&seen, &column), "nothing changed");
        set(
            &mut column,
            Row(70),
            Fact {
                free: 3,
                speakers: 1,
                ..Fact::default()
            },
        );
        assert_eq!((seen.fact(Row(70)).free, column.fact(Row(70)).free), (0, 3));
        let same = |n: usize| match (&seen.chunks[n], &column.chunks[n]) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.facts, &b.facts),
            _ => false,
        };
        assert_eq!([0, 1, 2, 3].map(same), [true, false, true, true]);
    }

    #[test]
    fn counters_are_shared_by_all_copies() {
        let mut column = Arc::<Column>::default();
        set(
            &mut column,
            Row(1),
            Fact {
                speakers: 1,
                ..Fact::default()
            },
        );
        let seen = Arc::clone(&column);
        set(
            &mut column,
            Row(1),
            Fact {
                speakers: 2,
                ..Fact::default()
            },
        );
        seen.get(Row(1))
            .expect("there")
            .1
            .in_flight
            .fetch_add(1, Ordering::Relaxed);
        assert_eq!(column.in_flight(Row(1)), 1);
        assert_eq!(column.in_flight(Row(999)), 0);
    }

    #[test]
    fn versions_add_up() {
        let one = Fact {
            speakers: 1,
            slots: 10,
            free: 2,
            service_ms: 100,
            ..Fact::default()
        };
        let two = Fact {
            speakers: 2,
            slots: 30,
            queued: 4,
            service_ms: 500,
            ..Fact::default()
        };
        let sum = one.and(two);
        assert_eq!(
            (
                sum.slots,
                sum.free,
                sum.queued,
                sum.service_ms,
                sum.speakers
            ),
            (40, 2, 4, 400, 2)
        );
        assert_eq!(
            Fact::default()
                .and(Fact {
                    service_ms: 9,
                    ..Fact::default()
                })
                .service_ms,
            9
        );
    }
}
