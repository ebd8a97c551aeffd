//! What operators run: the local stack, that is the whole system on one machine with every part a real process.
//!
//! This crate writes configuration files, starts processes, signals them and watches them. It never calls into the
//! parts: the edge and the regions are the programs that also run in production, and whatever the stack wants of them
//! it asks over their admin ports or with signals. Called by the root's command line, by tests and by drills.

pub mod load;

pub mod local;

pub mod drill;
