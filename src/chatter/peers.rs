//! The edges that are alive, as far as we hear, and who of them looks into the regions for all.
//!
//! Pure. The edge with the lowest number is elected: every edge that hears the same finds the same, without a vote. While
//! two believe it, a region gets two canaries a second instead of one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whether this edge sends canaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// For everybody.
    Elected,
    /// Another edge does.
    Other,
    /// Nobody is heard, not even we: everyone for himself.
    Alone,
}

/// Who was heard.
#[derive(Debug)]
pub(super) struct Peers {
    own: u64,
    heard: BTreeMap<u64, Instant>,
    echo: Option<Instant>,
}

/// An edge that says nothing for so long is gone; they speak once a second.
pub(super) const ALIVE: Duration = Duration::from_secs(3);
/// Edges that are listened to; more would be an attack.
const MOST: usize = 4096;

// === impl Peers ===

impl Peers {
    pub(super) const fn new(own: u64) -> Self {
        Self {
            own,
            heard: BTreeMap::new(),
            echo: None,
        }
    }

    /// Remembers that an edge, or we ourselves, came through.
    pub(super) fn hear(&mut self, edge: u64, now: Instant) {
        self.heard.retain(|_, at| alive(*at, now));
        if edge == self.own {
            self.echo = Some(now);
        }
        if self.heard.len() < MOST || self.heard.contains_key(&edge) || edge == self.own {
            self.heard.insert(edge, now);
        }
    }

    /// When our own voice last came back.
    pub(super) const fn echo(&self) -> Option<Instant> {
        self.echo
    }

    /// Another connection begins, on which our voice did not come back yet.
    pub(super) const fn forget_echo(&mut self) {
        self.echo = None;
    }

    pub(super) fn turn(&self, now: Instant) -> Turn {
        let lowest = self.heard.iter().find(|(_, at)| alive(**at, now));
        match lowest {
            None => Turn::Alone,
            Some((&edge, _)) if edge >= self.own => Turn::Elected,
            Some(_) => Turn::Other,
        }
    }
}

fn alive(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= ALIVE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_that_is_heard_is_elected() {
        let (mut peers, now) = (Peers::new(5), Instant::now());
        assert_eq!(peers.turn(now), Turn::Alone);
        peers.hear(5, now);
        peers.hear(9, now);
        assert_eq!(peers.turn(now), Turn::Elected);
        peers.hear(3, now);
        assert_eq!(peers.turn(now), Turn::Other);
        let later = now + ALIVE + Duration::from_millis(1);
        peers.hear(5, later);
        assert_eq!(peers.turn(later), Turn::Elected, "3 is gone");
        assert_eq!(peers.turn(later + ALIVE * 2), Turn::Alone);
    }

    #[test]
    fn a_crowd_does_not_drown_our_own_voice() {
        let (mut peers, now) = (Peers::new(u64::MAX), Instant::now());
        for edge in 0..10_000 {
            peers.hear(edge, now);
        }
        peers.hear(u64::MAX, now);
        assert_eq!((peers.heard.len(), peers.echo()), (MOST + 1, Some(now)));
    }
}
