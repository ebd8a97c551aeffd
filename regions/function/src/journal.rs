//! The journal: one line for each call, written before anything else is done with it.
//!
//! `<unix microseconds> <nvcf-reqid or -> <method> <path>`, appended by a single unbuffered write, so that a line
//! survives SIGKILL and lines of several writers never mix. Drills count its lines to prove that a call was executed
//! once, twice or never. Health checks are no calls and leave no line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;

/// Where calls are noted; without a file they are not.
#[derive(Debug)]
pub(crate) struct Journal(Option<File>);

// === impl Journal ===

impl Journal {
    /// Opens the file for appending, if one is wanted.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        path.map(|path| OpenOptions::new().create(true).append(true).open(path))
            .transpose()
            .map(Self)
    }

    /// Notes a call. The write is blocking on purpose: the call must not go on before its line is in the file.
    pub(crate) fn note(&self, head: &Parts) {
        let Some(mut file) = self.0.as_ref() else {
            return;
        };
        let id = head
            .headers
            .get("nvcf-reqid")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("-");
        let line = format!("{} {id} {} {}\n", unix_us(), head.method, head.uri.path());
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!(%error, "the journal cannot be written");
        }
    }
}

/// Now, in microseconds since the epoch.
pub(crate) fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}
