//! Wire words that edge, invocation service and worker share: names, subjects, the work item, the attach streams,
//! request headers, problem details, a region's report, and how configuration files are parsed.
//!
//! No I/O, no async, no clock, no randomness: everything here is a value or a function of its arguments, so that both
//! ends of every wire are built from one definition. The NVCF part of it follows NVIDIA's published service
//! (NVIDIA/nvcf at fadc0f81); what is ours is marked so, is optional, and is carried in names that start with
//! `frontdoor`.
//!
//! Versioning: fields are only ever added. A reader ignores what it does not know, a writer never changes the meaning
//! of a field it has once sent.

// In dependency order, each may use those before it. The blank lines keep rustfmt from sorting them.

pub mod names;

pub mod span;

pub mod moment;

pub mod key;

pub mod config;

pub mod headers;

pub mod trace;

pub mod poll;

pub mod cors;

pub mod problem;

pub mod target;

pub mod errand;

pub mod subject;

pub mod envelope;

pub mod attach;

pub mod report;

pub mod authority;

pub mod revocation;

pub mod presence;

pub mod locate;

pub mod verdict;
