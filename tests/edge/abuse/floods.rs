//! Floods: more of something than any caller needs, on HTTP/2, until the edge ends it; others do not notice.

use std::time::Duration;

use tokio::time::sleep;

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, PING, PRIORITY, RST_STREAM,
    Raw, SETTINGS, WINDOW_UPDATE, block, call, frame,
};
use super::siege::Siege;

/// RFC 9113 §7: the peer is generating excessive load.
const CALM: u32 = 0xb;

/// Between two attacks of one attacker: what is tried here is not volume, which is the network's business.
const PAUSE: Duration = Duration::from_millis(100);
/// How long each kind of talk goes on: four of them lie within the second and a half for which callers are measured.
const TALK: Duration = Duration::from_millis(300);
/// Header blocks of one bomb, and what is in each of them; a frame takes 16,384 bytes.
const BLOCKS: u32 = 24;
const BLOCK: usize = 16_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_ends_its_connection() {
    let siege = Siege::lay("").await;
    siege
        .bear(60, async || {
            let mut raw = Raw::secured(&siege, &[]).await;
            let block = call("/reset");
            let mut open = true;
            for n in 0..3000_u32 {
                let stream = n * 2 + 1;
                let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
                pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                open = open && raw.send(&pair).await;
            }
            let end = raw.end().await;
            assert!(
                matches!(end, End::Away(CALM) | End::Closed),
                "after 3000 resets: {end:?}"
            );
            sleep(PAUSE).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_an_end_end_their_connection() {
    let siege = Siege::lay("").await;
    siege
        .bear(60, async || {
            let mut raw = Raw::open(&siege, &[]).await;
            let mut open = raw.send(&frame(HEADERS, 0, 1, &call("/x"))).await;
            let filler = block(&[("x-filler", &"y".repeat(100))]).repeat(140);
            for _ in 0..2000 {
                open = open && raw.send(&frame(CONTINUATION, 0, 1, &filler)).await;
            }
            let end = raw.end().await;
            assert!(matches!(end, End::Away(_) | End::Closed), "{end:?}");
            sleep(PAUSE).await;
        })
        .await;
    assert!(!siege.witness.saw("/x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuations_of_nothing_end_their_connection() {
    let siege = Siege::lay("").await;
    siege
        .bear(60, async || {
            let mut raw = Raw::open(&siege, &[]).await;
            let mut open = raw.send(&frame(HEADERS, 0, 1, &call("/x"))).await;
            let nothing = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
            for _ in 0..100 {
                open = open && raw.send(&nothing).await;
            }
            let end = raw.end().await;
            assert!(matches!(end, End::Away(_) | End::Closed), "{end:?}");
            sleep(PAUSE).await;
        })
        .await;
    assert!(!siege.witness.saw("/x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_bomb_does_not_go_off() {
    let siege = Siege::lay("").await;
    // One entry of 4000 bytes goes into the table (RFC 7541 §6.2.1), and is then named again and again (§6.1).
    let mut entry = b"\x40\x04x-aa\x7f\xa1\x1e".to_vec();
    entry.extend(std::iter::repeat_n(b'z', 4000));
    siege
        // Gone off it is 1.5 GB, or 27 MB if naming an entry costs no more than its place among the headers.
        .bear(20, async || {
            let mut raw = Raw::open(&siege, &[]).await;
            for n in 0..BLOCKS {
                let mut block = call("/bomb");
                // The first one is a whole request, for a region to see; the others wait for a body, and would stay.
                let flags = if n == 0 {
                    block.extend(&entry);
                    END_HEADERS | END_STREAM
                } else {
                    END_HEADERS
                };
                block.resize(BLOCK, 0xbe);
                if !raw.send(&frame(HEADERS, flags, n * 2 + 1, &block)).await {
                    break;
                }
                sleep(PAUSE / 20).await;
            }
            let end = raw.end().await;
            assert!(
                matches!(
                    end,
                    End::Answer(431) | End::Reset(_) | End::Away(_) | End::Closed
                ),
                "{end:?}"
            );
            sleep(PAUSE).await;
        })
        .await;
    assert!(!siege.witness.saw("/bomb"), "it never reaches a region");
}

/// Frames that cost their sender nothing and ask for an answer, or for nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_talk_is_not_kept() {
    let siege = Siege::lay("").await;
    // Nobody reads what is answered: it must not pile up.
    let talk = [
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(PING, 0, 0, b"12345678"),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ];
    siege
        .bear(60, async || {
            for frame in &talk {
                let mut raw = Raw::open(&siege, &[]).await;
                let many = frame.repeat(1000);
                let flood = async {
                    for _ in 0..100 {
                        if !raw.send(&many).await {
                            return;
                        }
                    }
                };
                // The edge may as well stop reading.
                let _ = tokio::time::timeout(TALK, flood).await;
            }
            sleep(PAUSE).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_nothing_ends_its_connection() {
    let siege = Siege::lay("").await;
    siege
        .bear(60, async || {
            let mut raw = Raw::open(&siege, &[]).await;
            let mut open = raw
                .send(&frame(HEADERS, END_HEADERS, 1, &call("/nothing")))
                .await;
            let nothing = frame(DATA, 0, 1, &[]).repeat(1000);
            for _ in 0..100 {
                open = open && raw.send(&nothing).await;
            }
            let end = raw.end().await;
            assert!(
                matches!(end, End::Away(_) | End::Closed | End::Reset(_)),
                "{end:?}"
            );
            sleep(PAUSE).await;
        })
        .await;
    assert!(!siege.witness.saw("/nothing"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_reset() {
    let siege = Siege::lay("limits = { write = \"1s\" }").await;
    siege
        // What a region sends before it waits: a window of 1 MiB for each of 50 answers.
        .bear(120, async || {
            // SETTINGS_INITIAL_WINDOW_SIZE is 0.
            let mut raw = Raw::open(&siege, &[0, 4, 0, 0, 0, 0]).await;
            for n in 0..50_u32 {
                let flags = END_HEADERS | END_STREAM;
                let bytes = frame(HEADERS, flags, n * 2 + 1, &call("/large"));
                assert!(raw.send(&bytes).await);
                sleep(PAUSE / 5).await;
            }
            let mut resets = 0;
            while resets < 50 {
                match raw.end().await {
                    End::Answer(200) => {}
                    End::Reset(_) => resets += 1,
                    end => panic!("not even a byte could be sent: {end:?}"),
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_allowed_are_refused() {
    let siege = Siege::listening("streams = 100", "").await;
    siege
        .bear(60, async || {
            let mut raw = Raw::open(&siege, &[]).await;
            for n in 0..150_u32 {
                let bytes = frame(HEADERS, END_HEADERS, n * 2 + 1, &call("/waits"));
                assert!(raw.send(&bytes).await);
            }
            for _ in 0..50 {
                // REFUSED_STREAM: it was not looked at, and may be sent again (§8.7).
                assert_eq!(raw.end().await, End::Reset(7));
            }
            let _ = raw.send(&frame(PING, ACK, 0, b"goodbye!")).await;
            sleep(PAUSE).await;
        })
        .await;
    assert!(!siege.witness.saw("/waits"));
}
