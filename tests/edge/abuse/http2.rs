//! HTTP/2 floods, frame by frame: rapid reset, CONTINUATION without an end, header bomb, windows that never open.

use std::time::Duration;

use test_support::eventually::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Witness, resident, undisturbed};
use crate::harness::{Edge, host};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection on which a test writes frames as it likes.
struct Raw(TcpStream);

impl Raw {
    /// Opens it, with these settings.
    async fn open(edge: &Edge, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(edge.ports.http)
            .await
            .expect("a connection");
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, settings));
        hello.extend(frame(SETTINGS, 1, 0, &[]));
        stream.write_all(&hello).await.expect("sent");
        Self(stream)
    }

    /// Sends; false if the edge has closed.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(
            timeout(Duration::from_secs(10), self.0.write_all(bytes)).await,
            Ok(Ok(()))
        )
    }

    /// Reads until a frame of one of these types comes (its type), or the edge closes (`None`).
    async fn until(&mut self, kinds: &[u8]) -> Option<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("small")];
            self.0.read_exact(&mut payload).await.ok()?;
            if kinds.contains(&head[3]) {
                return Some(head[3]);
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header as a literal that is not indexed (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    let mut block = vec![0, length(name)];
    block.extend(name.bytes());
    block.push(length(value));
    block.extend(value.bytes());
    block
}

fn call(path: &str) -> Vec<u8> {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &host()),
        (":path", path),
        ("authorization", "Bearer key"),
    ]
    .iter()
    .flat_map(|(name, value)| literal(name, value))
    .collect()
}

#[tokio::test]
async fn rapid_reset_ends_its_connection() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let attack = async {
        let mut raw = Raw::open(&edge, &[]).await;
        let block = call("/reset");
        let mut sent = true;
        for n in 0..3000_u32 {
            let stream = n * 2 + 1;
            let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            sent = sent && raw.send(&pair).await;
        }
        let ended = timeout(Duration::from_secs(20), raw.until(&[GOAWAY])).await;
        assert!(
            matches!(ended, Ok(Some(GOAWAY) | None)),
            "the connection goes on after 3000 resets"
        );
    };
    undisturbed(&edge, attack).await;
    eventually(
        "nothing of it is left",
        Duration::from_secs(10),
        async || (edge.counter("in_flight", "").await < 1.0).then_some(()),
    )
    .await;
}

#[tokio::test]
async fn headers_without_an_end_end_their_connection() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let before = resident();
    let attack = async {
        let mut raw = Raw::open(&edge, &[]).await;
        let mut open = raw.send(&frame(HEADERS, 0, 1, &call("/x"))).await;
        let filler = literal("x-filler", &"y".repeat(100)).repeat(140);
        for _ in 0..2000 {
            open = open && raw.send(&frame(CONTINUATION, 0, 1, &filler)).await;
        }
        let ended = timeout(Duration::from_secs(20), raw.until(&[GOAWAY])).await;
        assert!(matches!(ended, Ok(Some(GOAWAY) | None)), "it goes on");
    };
    undisturbed(&edge, attack).await;
    assert!(!witness.saw("/x"));
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB more");
}

#[tokio::test]
async fn a_header_bomb_does_not_go_off() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let before = resident();
    let attack = async {
        for _ in 0..20 {
            let mut raw = Raw::open(&edge, &[]).await;
            let mut block = call("/bomb");
            // One entry of 4000 bytes goes into the table (§6.2.1), and is then named ten thousand times (§6.1).
            block.extend([0x40, 4]);
            block.extend(b"x-aa");
            block.extend([0x7f, 0xa1, 0x1e]);
            block.extend(std::iter::repeat_n(b'z', 4000));
            block.extend(std::iter::repeat_n(0xbe_u8, 10_000));
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block))
                .await;
            let ended = timeout(
                Duration::from_secs(10),
                raw.until(&[GOAWAY, RST_STREAM, HEADERS]),
            )
            .await;
            assert!(ended.is_ok(), "no answer to a bomb");
        }
    };
    undisturbed(&edge, attack).await;
    assert!(!witness.saw("/bomb"), "it never reaches a region");
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB more");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_reset() {
    let witness = Witness::start().await;
    let edge = witness.edge("limits = { write = \"1s\" }").await;
    let before = resident();
    let attack = async {
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let mut raw = Raw::open(&edge, &[0, 4, 0, 0, 0, 0]).await;
        for n in 0..50_u32 {
            let bytes = frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                n * 2 + 1,
                &call("/large"),
            );
            assert!(raw.send(&bytes).await);
        }
        for _ in 0..50 {
            let end = timeout(Duration::from_secs(20), raw.until(&[RST_STREAM, DATA])).await;
            assert_eq!(end, Ok(Some(RST_STREAM)), "not even a byte could be sent");
        }
    };
    undisturbed(&edge, attack).await;
    let grown = resident().saturating_sub(before);
    // A window of 1 MiB for each of 50 answers, on both sides of this one process.
    assert!(grown < 250, "{grown} MiB more");
    eventually(
        "nothing of it is left",
        Duration::from_secs(10),
        async || (edge.counter("in_flight", "").await < 1.0).then_some(()),
    )
    .await;
}
