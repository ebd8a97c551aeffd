//! Files that this edge keeps over a restart: written aside and renamed, so that a reader sees the old or the new one and never
//! half of one, even if the machine stops in between.
//!
//! Called by `lastgood.rs` and `orders.rs`. A file that cannot be read or written is a warning of theirs and never more.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

/// For one write; a disk that hangs must hang neither an order nor the stop.
const LIMIT: Duration = Duration::from_secs(5);

/// The content of a file; none if there is no such file.
///
/// # Errors
/// If it is there and cannot be read.
pub fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file.
///
/// # Errors
/// If the disk refuses, or does not answer in time.
pub async fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    match tokio::time::timeout(LIMIT, replace(file, content)).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    // Of this process alone: while an edge is succeeded by another, both keep the same files.
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = file.with_file_name(name);
    let mut out = tokio::fs::File::create(&aside).await?;
    out.write_all(content).await?;
    out.sync_all().await?;
    drop(out);
    tokio::fs::rename(&aside, file).await
}
