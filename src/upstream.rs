//! The way to the regions: standing HTTP/2 connections, many calls on each.
//!
//! pingora's connectors dial once for every call that finds no free connection (86 for 300 cold calls), wait a fixed five
//! seconds for a PING's answer, and have one time-out for an answer's head and its body. `pool.rs` and `connection.rs` are
//! ours for these three reasons. Nothing here knows what a call is about.

mod connection;
mod deadline;
mod dialer;
mod group;
mod pool;
mod warm;

pub use self::connection::Lease;
pub use self::deadline::left;
pub use self::dialer::{Dialer, TrustError, Wire, show_identity};
pub use self::pool::{Cause, DialError, Pool};
pub use self::warm::keep_warm;
