//! The book on disk: replaced at each change, read once at start.

use std::io;
use std::path::Path;

use super::Book;
use crate::aside;

/// Reads the book; empty if there is none, or none that makes sense.
pub(super) fn read(file: &Path) -> Book {
    let text = match aside::read(file) {
        Ok(Some(text)) => text,
        Ok(None) => return Book::default(),
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
    aside::write(file, &serde_json::to_vec_pretty(book)?).await
}
