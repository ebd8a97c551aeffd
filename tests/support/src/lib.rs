//! What the tests of several groups share: a client that speaks everything, certificates, regions that do as they are
//! told, an edge with a port of its own, the whole local stack, and waiting for a condition instead of a while.
//!
//! Everything here ends when it is dropped, also when a test panics.

// In dependency order, each may use those before it. The blank lines keep rustfmt from sorting them.

pub mod eventually;

pub mod tls;

pub mod client;

pub mod region;

pub mod edge;

pub mod world;

pub mod load;

pub mod browser;
