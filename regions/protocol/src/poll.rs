//! `NVCF-POLL-SECONDS`: how long a caller waits for the first byte of the answer.

use std::time::Duration;

/// Without the header.
pub const DEFAULT: Duration = Duration::from_secs(60);
/// Without the header, of a call through the API whose caller reads an event stream: nobody comes back for that.
pub const STREAM_DEFAULT: Duration = Duration::from_secs(1200);
/// The most that may be asked for.
pub const MAX: Duration = Duration::from_secs(3600);

/// The header is not a whole number of seconds in range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header NVCF-POLL-SECONDS must be a whole number of seconds from 0 to 3600")]
pub struct PollError;

/// Reads the header's value: a whole number, `+` allowed, 0 raised to 1; [`DEFAULT`] without one.
///
/// # Errors
/// If it is not a number, or above [`MAX`].
pub fn read(value: Option<&[u8]>) -> Result<Duration, PollError> {
    read_or(value, DEFAULT)
}

/// How long a call through the API waits without the header, by its `Accept`.
#[must_use]
pub fn api_default(accept: Option<&[u8]>) -> Duration {
    match accept {
        Some(b"text/event-stream") => STREAM_DEFAULT,
        _ => DEFAULT,
    }
}

/// The same as [`read`], with another default.
///
/// # Errors
/// As there.
pub fn read_or(value: Option<&[u8]>, default: Duration) -> Result<Duration, PollError> {
    let Some(bytes) = value else {
        return Ok(default);
    };
    let seconds: u64 = std::str::from_utf8(bytes)
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .ok_or(PollError)?;
    let wait = Duration::from_secs(seconds.max(1));
    if wait > MAX { Err(PollError) } else { Ok(wait) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_in_range() {
        let check = |text: &str| read(Some(text.as_bytes())).map(|d| d.as_secs());
        assert_eq!(read(None), Ok(DEFAULT));
        assert_eq!(check("0"), Ok(1));
        assert_eq!(check("+1"), Ok(1));
        assert_eq!(check("3600"), Ok(3600));
        for bad in ["3601", "-1", "1.5", "abc", "", "99999999999999999999999"] {
            assert_eq!(check(bad), Err(PollError), "{bad}");
        }
        assert_eq!(read(Some(b"\xff")), Err(PollError));
        let stream = api_default(Some(b"text/event-stream"));
        assert_eq!(read_or(None, stream), Ok(STREAM_DEFAULT));
        assert_eq!(read_or(Some(b"5"), stream).map(|d| d.as_secs()), Ok(5));
        assert_eq!(api_default(Some(b"text/event-stream, */*")), DEFAULT);
        assert_eq!(api_default(None), DEFAULT);
    }
}
