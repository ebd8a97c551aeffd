//! Room for answers that wait for their callers: bytes are counted against one bound for all, and given back when the
//! answer is on its way or gone.
//!
//! Holds no bytes itself; `relay.rs` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room that is left.
pub(crate) struct Shelf(AtomicUsize);

/// Some of it, taken.
pub(super) struct Room {
    shelf: Arc<Shelf>,
    bytes: usize,
}

// === impl Shelf ===

impl Shelf {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }
}

// === impl Room ===

impl Room {
    /// None of it yet.
    pub(super) fn none(shelf: &Arc<Shelf>) -> Self {
        Self {
            shelf: Arc::clone(shelf),
            bytes: 0,
        }
    }

    /// How much it is.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes as much more, or nothing if there is less.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self
            .shelf
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shelf.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let shelf = Shelf::new(10);
        let mut one = Room::none(&shelf);
        let mut two = Room::none(&shelf);
        assert!(one.grow(6) && !two.grow(5) && two.grow(4));
        assert_eq!((one.bytes(), two.bytes()), (6, 4));
        drop(one);
        assert!(two.grow(6) && !two.grow(1));
    }
}
