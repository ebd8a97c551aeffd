//! The end of a connection that takes what its caller still sends, so that the caller can read what we said last.
//!
//! A caller who has not read our GOAWAY yet may begin one more call. If that meets a closed socket, the kernel answers with a
//! reset, which throws away the GOAWAY as well: the caller sees a broken connection where it should see that the call was not
//! taken and may be made again. So our side is shut first, and what still comes is read and forgotten, until the caller has
//! shut its side too or a moment has passed (as nginx's `lingering_close`; RFC 9112 §9.6 tells the same of HTTP/1.1).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// For a caller to hear that there is nothing more, and to stop.
const MOMENT: Duration = Duration::from_secs(1);
/// Whoever sends more than this in it is not about to stop.
const MOST: usize = 1 << 20;

/// A stream that lingers when it is shut down.
#[derive(Debug)]
pub(super) struct Lingering {
    stream: Stream,
    end: End,
}

#[derive(Debug)]
enum End {
    Not,
    /// Our side is shut; until when the other side is listened to, and how much it has sent since.
    Ours(Pin<Box<Sleep>>, usize),
    Both,
}

// === impl Lingering ===

impl Lingering {
    pub(super) fn over(stream: Stream) -> Stream {
        Box::new(Self {
            stream,
            end: End::Not,
        })
    }

    /// Reads and forgets.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let End::Ours(until, sent) = &mut self.end else {
            return Poll::Ready(());
        };
        let mut space = [0; 4096];
        while until.as_mut().poll(cx).is_pending() && *sent < MOST {
            let mut taken = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut taken)) {
                Ok(()) if !taken.filled().is_empty() => *sent += taken.filled().len(),
                // It has shut its side, or is gone.
                Ok(()) | Err(_) => break,
            }
        }
        self.end = End::Both;
        Poll::Ready(())
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, End::Not) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.end = End::Ours(Box::pin(sleep(MOMENT)), 0);
        }
        ready!(self.drain(cx));
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Lingering {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Lingering {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Lingering {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Lingering {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Lingering {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Lingering {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Lingering {}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as TcpLayer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// A caller, and our end of its connection, which says its last word and is shut down: how long that took.
    async fn parting() -> (TcpStream, tokio::task::JoinHandle<Duration>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (caller, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, _) = ours.expect("a connection");
        let mut ours = Lingering::over(Box::new(TcpLayer::from(ours)));
        let ends = tokio::spawn(async move {
            ours.write_all(b"bye").await.expect("open");
            let begun = Instant::now();
            ours.shutdown().await.expect("open");
            begun.elapsed()
        });
        (caller.expect("a connection"), ends)
    }

    #[tokio::test]
    async fn who_still_speaks_can_read_the_last_word() {
        let (mut caller, ends) = parting().await;
        for _ in 0..3 {
            sleep(Duration::from_millis(30)).await;
            caller.write_all(b"one more").await.expect("no reset");
        }
        let mut said = Vec::new();
        caller.read_to_end(&mut said).await.expect("no reset");
        assert_eq!(said, b"bye");
        drop(caller);
        assert!(ends.await.expect("ended") < MOMENT, "it has left");
    }

    #[tokio::test]
    async fn who_stays_is_left() {
        let (_caller, ends) = parting().await;
        assert!(ends.await.expect("ended") >= MOMENT);
    }

    #[tokio::test]
    async fn who_goes_on_sending_is_left() {
        let (mut caller, ends) = parting().await;
        let flood = [7; 4096];
        while caller.write_all(&flood).await.is_ok() {}
        assert!(ends.await.expect("ended") < MOMENT);
    }
}
