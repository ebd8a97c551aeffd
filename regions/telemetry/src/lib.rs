//! What every program shows of itself to those who run it: its process, its build, how long its certificates hold, and, if
//! that is wanted, spans of its calls.
//!
//! Knows nothing of calls but what a [`span::Span`] says; the three programs decide what goes into it. The access line is
//! theirs as well. Nothing here is waited for on the path of a call. Whom they believe over TLS they all read by [`trust`],
//! because it is the one crate beside the wire formats that all of them use.

// In dependency order, each may use those before it. The blank lines keep rustfmt from sorting them.

pub mod process;

pub mod certificate;

pub mod table;

pub mod span;

pub mod trust;

mod collector;

pub mod export;
