//! Large bodies through edge and region: whole, and held by nobody on the way, also while the caller reads nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;

use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use sha2::{Digest as _, Sha256};
use test_support::client::{Body, Client, Protocol, full as whole};
use test_support::world::World;

use super::memory::{MIB, Memory};
use super::{ALONE, full};
use crate::world;

/// What a part may grow by, in KiB: windows and buffers of one call, and what an allocator keeps of them.
const BOUND: u64 = 20 * MIB;
/// For one transfer, on any machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// The caller reads nothing for so long in the midst of an answer.
const PAUSE: Duration = Duration::from_millis(500);
/// A piece of an upload.
const PIECE: usize = 64 << 10;
/// What `/bytes` of the sample function repeats has this length.
const PERIOD: usize = 251;

#[tokio::test]
async fn large_bodies_pass_and_are_not_held() {
    let pieces = if full() { 1 << 14 } else { 1 << 10 };
    let world = world(ALONE);
    let piece: Bytes = (0..PIECE).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut hash = Sha256::new();
    (0..pieces).for_each(|_| hash.update(&piece));
    let expected = hex::encode(hash.finalize());
    for protocol in [Protocol::H2, Protocol::H1] {
        let client = world.caller(protocol).await.expect("a connection");
        let mut client = client.patient(PATIENCE);
        // One of each, so that what is made once for a connection is there before anything is measured.
        upload(&world, &mut client, &piece, 1).await;
        download(&world, &mut client, PIECE).await;

        let memory = Memory::of(&world, &["edge", "invocation", "worker"]);
        let began = Instant::now();
        let seen = upload(&world, &mut client, &piece, pieces).await;
        let up = began.elapsed();
        assert_eq!(seen["body_bytes"].as_u64(), Some((pieces * PIECE) as u64));
        assert_eq!(seen["sha256"].as_str(), Some(expected.as_str()));
        let uploaded = memory.grown();

        let memory = Memory::of(&world, &["edge", "invocation", "worker"]);
        let began = Instant::now();
        download(&world, &mut client, pieces * PIECE).await;
        let down = began.elapsed() - PAUSE;
        let downloaded = memory.grown();

        let mib = (pieces * PIECE) >> 20;
        println!(
            "| {mib} MiB, {protocol:?} | up {} MiB/s: {uploaded} | down {} MiB/s: {downloaded} |",
            rate(mib, up),
            rate(mib, down)
        );
        for (part, kib) in uploaded.0.iter().chain(&downloaded.0) {
            assert!(*kib < BOUND, "{part} grew by {kib} KiB");
        }
    }
}

fn rate(mib: usize, time: Duration) -> u128 {
    mib as u128 * 1000 / time.as_millis().max(1)
}

/// Sends so many pieces; what the function saw of them.
async fn upload(
    world: &World,
    client: &mut Client,
    piece: &Bytes,
    count: usize,
) -> serde_json::Value {
    let piece = piece.clone();
    let frames = (0..count).map(move |_| Ok(Frame::data(piece.clone())));
    let body: Body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let call = world.request("POST", "/inspect").body(body).expect("valid");
    let answer = client.call(call).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Fetches so many bytes, compares each, and pauses once in the midst.
async fn download(world: &World, client: &mut Client, bytes: usize) {
    let call = world.request("GET", &format!("/bytes/{bytes}"));
    let answer = client.send(call.body(whole("")).expect("valid")).await;
    let mut body = answer.expect("a head").into_body();
    let pattern: Vec<u8> = (0..=250).cycle().take(PERIOD * 1024).collect();
    let (mut at, mut paused) = (0, bytes <= PIECE);
    while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame())
        .await
        .expect("goes on")
    {
        let mut data = frame.expect("whole").into_data().unwrap_or_default();
        while !data.is_empty() {
            let next = data.split_to(data.len().min(PERIOD * 1023));
            let from = at % PERIOD;
            assert!(
                next[..] == pattern[from..from + next.len()],
                "changed near {at}"
            );
            at += next.len();
        }
        if !paused && at > bytes / 2 {
            paused = true;
            tokio::time::sleep(PAUSE).await;
        }
    }
    assert_eq!(at, bytes);
}
