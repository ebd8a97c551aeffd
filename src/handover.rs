//! Listening sockets from one process of the edge to the next, so that an upgrade refuses nobody.
//!
//! The running edge holds a door (`door.rs`): a Unix socket that only its own user may open. Its successor comes in when its
//! configuration is right (`takeover.rs`), gets the listening sockets themselves, becomes ready behind them, serves, and says so.
//! Until that word the old one accepts as ever: a successor that fails has changed nothing. From that word on the old one
//! accepts nothing and finishes its calls. Both hold the same sockets, so no connection in a backlog is lost in between.
//!
//! pingora's way (`Fds`) hands sockets out as bare numbers, which safe code cannot own, and takes a sleep for an agreement.

mod door;
mod takeover;
mod wire;

pub mod sockets;

pub use self::door::{Door, Offered, Successor};
pub use self::takeover::{HandoverError, Takeover, activated};

/// Both sides say this first; a later one that means something else gets another number.
const HELLO: &str = "frontdoor-handover 1";
/// The successor serves.
const SERVING: &str = "serving";
/// The old one leaves.
const LEAVING: &str = "leaving";
/// It does not: it waited too long.
const LATE: &str = "late";
