//! Against pipes in memory: what a peer of this socket sees, and when.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::Notify;

use super::*;

/// Ten tasks have something to say at once, and another one writes for all of them, woken by the first. Returns what
/// the peer read at a time.
async fn said(gathering: bool) -> Vec<usize> {
    let (near, mut far) = duplex(1024);
    let mut socket = match gathering {
        true => Gathering::new(near),
        false => Gathering {
            stream: near,
            turn: Turn::Never,
        },
    };
    let words = Arc::new(Mutex::new(Vec::new()));
    let (begin, wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let writer = {
        let (words, wake) = (Arc::clone(&words), Arc::clone(&wake));
        tokio::spawn(async move {
            let mut written = Vec::new();
            while written.iter().sum::<usize>() < 10 {
                wake.notified().await;
                let length = poll_fn(|cx| {
                    let mut words = words.lock().expect("whole");
                    if words.is_empty() {
                        return Poll::Ready(0);
                    }
                    let length = ready!(Pin::new(&mut socket).poll_write(cx, &words));
                    words.clear();
                    Poll::Ready(length.expect("open"))
                })
                .await;
                socket.flush().await.expect("open");
                written.extend((length > 0).then_some(length));
            }
            written
        })
    };
    for _ in 0..10 {
        let (words, begin, wake) = (Arc::clone(&words), Arc::clone(&begin), Arc::clone(&wake));
        tokio::spawn(async move {
            begin.notified().await;
            words.lock().expect("whole").push(b'x');
            wake.notify_one();
        });
    }
    tokio::task::yield_now().await;
    for _ in 0..10 {
        begin.notify_one();
    }
    let written = writer.await.expect("no panic");
    let mut read = [0; 10];
    far.read_exact(&mut read).await.expect("all of it");
    written
}

/// A runtime with one worker runs what a task woke right after that task, before all others that are ready.
fn on_one_worker<T>(test: impl Future<Output = T> + Send + 'static) -> T
where
    T: Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    runtime.block_on(async { tokio::spawn(test).await.expect("no panic") })
}

#[test]
fn what_many_say_at_once_goes_out_together() {
    assert_eq!(on_one_worker(said(true)), [10]);
    let apart = on_one_worker(said(false));
    assert!(
        apart.len() > 1,
        "else there is nothing to gather: {apart:?}"
    );
}

#[tokio::test]
async fn only_http2_is_gathered() {
    for (first, turn) in [
        (&b"PRI * HTTP/2.0\r\n"[..], Turn::Others),
        (b"POST / HTTP/1.1\r\n", Turn::Never),
    ] {
        let (near, mut far) = duplex(1024);
        let mut socket = Gathering::if_many(near);
        far.write_all(first).await.expect("open");
        let mut read = vec![0; first.len()];
        socket.read_exact(&mut read).await.expect("open");
        assert_eq!(socket.turn, turn);
        // What is written arrives either way, each time.
        for _ in 0..2 {
            socket.write_all(b"answer").await.expect("open");
            socket.flush().await.expect("open");
            let mut answer = [0; 6];
            far.read_exact(&mut answer).await.expect("open");
            assert_eq!(&answer, b"answer");
        }
    }
}
