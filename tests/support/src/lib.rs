//! What the tests of several groups share: a client that speaks everything, certificates, regions that do as they are
//! told, an edge with a port of its own, the whole local stack, and waiting for a condition instead of a while.
//!
//! Everything here ends when it is dropped, also when a test panics.

pub mod client;
pub mod edge;
pub mod eventually;
pub mod load;
pub mod region;
pub mod tls;
pub mod world;
