//! How every program of ours gets into NATS: the keys of a `[nats]` table, what they mean, and the options they make.
//!
//! Servers know a program by an nkey (its seed in a file of its own), a credentials file, or user and password; a program
//! knows its servers by TLS. What a program does on its connection, and how it reconnects, is its own affair.

mod access;
mod table;

pub use access::{Access, AccessError, Login, Trust};
pub use table::{NatsTable, TlsTable};
