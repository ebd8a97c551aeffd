//! The book on disk: written aside and renamed at each change, read once at start.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::Book;

/// For one write; a disk that hangs must not hang an order.
const WRITE: Duration = Duration::from_secs(2);

/// Reads the book; empty if there is none, or none that makes sense.
pub(super) fn read(file: &Path) -> Book {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Book::default(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the orders from before the start cannot be read");
            return Book::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "the orders from before the start make no sense; going on without");
        Book::default()
    })
}

/// Writes the book.
pub(super) async fn write(file: &Path, book: &Book) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(book)?;
    let temporary = file.with_extension("tmp");
    let written = async {
        tokio::fs::write(&temporary, text).await?;
        tokio::fs::rename(&temporary, file).await
    };
    match tokio::time::timeout(WRITE, written).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
