//! Against pipes in memory: what a peer of this socket sees, and when.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;

use super::*;

/// Notes how much was written at a time.
struct Counted(DuplexStream, Arc<Mutex<Vec<usize>>>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
        self.1.lock().expect("whole").push(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A pipe that gathers, its other end, and what is written to it at a time.
fn pipe(
    room: usize,
    turn: Turn,
) -> (
    Gathering<Counted>,
    DuplexStream,
    impl Fn() -> Vec<usize> + Send + 'static,
) {
    let (near, far) = duplex(room);
    let written = Arc::new(Mutex::new(Vec::new()));
    let near = Counted(near, Arc::clone(&written));
    let written = move || written.lock().expect("whole").clone();
    (Gathering::with(near, turn), far, written)
}

/// Ten tasks have something to say at once, and another one writes for all of them, woken by the first, as a connection does:
/// it reads, and flushes each word by itself. Returns how much went out at a time.
async fn said(turn: Turn) -> Vec<usize> {
    let (mut socket, mut far, written) = pipe(1024, turn);
    let words = Arc::new(Mutex::new((Vec::new(), None::<Waker>)));
    let begin = Arc::new(Notify::new());
    let writer = {
        let words = Arc::clone(&words);
        tokio::spawn(poll_fn(move |cx| {
            let mut byte = [0];
            let mut read = ReadBuf::new(&mut byte);
            let read = Pin::new(&mut socket).poll_read(cx, &mut read);
            let mut words = words.lock().expect("whole");
            words.1 = Some(cx.waker().clone());
            for word in words.0.drain(..) {
                let kept = Pin::new(&mut socket).poll_write(cx, &[word]);
                assert!(matches!(kept, Poll::Ready(Ok(1))));
                assert!(Pin::new(&mut socket).poll_flush(cx).is_ready());
            }
            assert!(Pin::new(&mut socket).poll_flush(cx).is_ready());
            read.map(|end| end.expect("open"))
        }))
    };
    for _ in 0..10 {
        let (words, begin) = (Arc::clone(&words), Arc::clone(&begin));
        tokio::spawn(async move {
            begin.notified().await;
            let mut words = words.lock().expect("whole");
            words.0.push(b'x');
            words.1.take().iter().for_each(Waker::wake_by_ref);
        });
    }
    tokio::task::yield_now().await;
    begin.notify_waiters();
    let mut read = [0; 10];
    far.read_exact(&mut read).await.expect("all of it");
    far.shutdown().await.expect("open");
    writer.await.expect("no panic");
    written()
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
    // When the others have had their turn, the next flush takes along what was kept; what comes after it waits for the next turn.
    assert_eq!(on_one_worker(said(Turn::Others)), [2, 8]);
    assert_eq!(on_one_worker(said(Turn::Never)), [1; 10]);
}

#[tokio::test]
async fn only_http2_is_gathered() {
    for (first, turn) in [
        (&b"PRI * HTTP/2.0\r\n"[..], Turn::Others),
        (b"POST / HTTP/1.1\r\n", Turn::Never),
    ] {
        let (mut socket, mut far, written) = pipe(1024, Turn::Unknown);
        far.write_all(first).await.expect("open");
        let mut read = vec![0; first.len()];
        socket.read_exact(&mut read).await.expect("open");
        assert_eq!(socket.turn, turn);
        socket.write_all(b"answer").await.expect("open");
        assert_eq!(written().is_empty(), turn == Turn::Others, "kept");
    }
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let (mut socket, mut far, written) = pipe(8 * KEPT, Turn::Others);
    for piece in [KEPT - 1, 1, 1, KEPT + 1, 1] {
        socket.write_all(&vec![b'x'; piece]).await.expect("open");
    }
    assert_eq!(
        written(),
        [KEPT, 1, KEPT + 1],
        "kept, kept, too long to be kept"
    );
    socket.shutdown().await.expect("open");
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.expect("open");
    assert_eq!(read.len(), 2 * KEPT + 3, "all is there, in the end");
}

#[tokio::test]
async fn who_never_reads_is_not_put_off_for_ever() {
    let (mut socket, _far, written) = pipe(1024, Turn::Others);
    socket.write_all(b"x").await.expect("open");
    for _ in 0..=FLUSHES {
        socket.flush().await.expect("open");
    }
    assert_eq!(written(), [1]);
}
