//! HTTP/2 written by hand: a connection on which a test sends the frames it likes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::siege::{Io, Siege};
use crate::harness::host;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub(super) struct Raw(Box<dyn Io>);

/// How a connection or stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A whole answer's head.
    Answer(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this code, other than the graceful 0.
    Away(u32),
    /// The connection was closed without a word.
    Closed,
    /// Nothing at all.
    Nothing,
}

// === impl Raw ===

impl Raw {
    /// Opens one on the plain port, with these settings.
    pub(super) async fn open(siege: &Siege, settings: &[u8]) -> Self {
        Self::over(siege.connect(None).await, settings).await
    }

    /// The same with TLS.
    pub(super) async fn secured(siege: &Siege, settings: &[u8]) -> Self {
        Self::over(siege.connect(Some("h2")).await, settings).await
    }

    async fn over(mut stream: Box<dyn Io>, settings: &[u8]) -> Self {
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, settings));
        hello.extend(frame(SETTINGS, ACK, 0, &[]));
        stream.write_all(&hello).await.expect("sent");
        Self(stream)
    }

    /// Sends; false if the edge has closed.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(PATIENCE, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        });
        matches!(sent.await, Ok(Ok(())))
    }

    /// Reads until something comes to its end.
    pub(super) async fn end(&mut self) -> End {
        timeout(PATIENCE, self.next_end())
            .await
            .unwrap_or(End::Nothing)
    }

    async fn next_end(&mut self) -> End {
        loop {
            let Some((kind, flags, payload)) = self.frame().await else {
                return End::Closed;
            };
            let code = |at: usize| {
                let bytes = payload.get(at..at + 4).and_then(|b| b.try_into().ok());
                bytes.map_or(u32::MAX, u32::from_be_bytes)
            };
            match kind {
                RST_STREAM => return End::Reset(code(0)),
                GOAWAY if code(4) != 0 => return End::Away(code(4)),
                HEADERS if flags & END_HEADERS != 0 => return End::Answer(status(&payload)),
                DATA => return End::Answer(0),
                _ => {}
            }
        }
    }

    /// Whether nothing more comes but the end of the connection.
    pub(super) async fn closes(&mut self) -> bool {
        let closed = async { while self.frame().await.is_some() {} };
        timeout(PATIENCE, closed).await.is_ok()
    }

    async fn frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("small")];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], payload))
    }
}

/// The status at the beginning of a header block, as far as static indices and plain literals spell it (RFC 7541).
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // A literal with the name `:status`; its value is Huffman coded (digits: 5 bits for 0 to 2, 6 for others) or plain.
        [_, length, value @ ..] if length & 0x80 != 0 => {
            let bytes = value.iter().take(usize::from(length & 0x7f));
            let bits = bytes.fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            digits(bits, u32::from(length & 0x7f) * 8)
        }
        [_, 3, value @ ..] => value.iter().take(3).fold(0, |status, digit| {
            status * 10 + u16::from(digit.saturating_sub(b'0'))
        }),
        _ => 0,
    }
}

fn digits(bits: u64, mut left: u32) -> u16 {
    let mut status = 0;
    for _ in 0..3 {
        let mut take = |count: u32| {
            left = left.saturating_sub(count);
            u16::try_from(bits >> left & ((1 << count) - 1)).unwrap_or_default()
        };
        let five = take(5);
        let digit = if five < 3 {
            five
        } else {
            // `3` is 0x19 of six bits.
            (five << 1 | take(1)).saturating_sub(0x19) + 3
        };
        status = status * 10 + digit;
    }
    status
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers as literals that are not indexed (RFC 7541 §6.2.2).
pub(super) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.bytes());
        }
    }
    block
}

/// The header block of a good GET.
pub(super) fn call(path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &host()),
        (":path", path),
        ("authorization", "Bearer key"),
    ])
}
