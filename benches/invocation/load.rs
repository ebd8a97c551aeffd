//! The caller: a closed loop of small POSTs, and one reader of events.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// 109 bytes of JSON, as NVIDIA's figures were taken with.
const BODY: &str = r#"{"echo":"a small request as a model's health check would send it, without anything to compute","n":12345678901}"#;

/// What callers speak.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    /// One connection for each call at a time.
    Http1,
    /// All calls on one connection.
    H2c,
}

/// Where calls go.
pub(crate) struct Caller {
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
    pub(crate) host: String,
    pub(crate) key: String,
}

/// What came of a run; times in milliseconds.
pub(crate) struct Result {
    pub(crate) calls: usize,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

// === impl Protocol ===

impl Protocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::H2c => "h2c",
        }
    }
}

// === impl Caller ===

impl Caller {
    /// So many calls at once, for so long; what ends in the warm-up is not counted.
    pub(crate) async fn run(
        &self,
        concurrency: usize,
        warm: Duration,
        measured: Duration,
    ) -> Result {
        let mut senders = Vec::new();
        match self.protocol {
            Protocol::Http1 => {
                for _ in 0..concurrency {
                    senders.push(self.connect().await);
                }
            }
            Protocol::H2c => {
                let Sender::Two(shared) = self.connect().await else {
                    unreachable!("h2c was asked for")
                };
                senders.extend((0..concurrency).map(|_| Sender::Two(shared.clone())));
            }
        }
        let from = Instant::now() + warm;
        let until = from + measured;
        let mut loops = JoinSet::new();
        for mut sender in senders {
            let request = self.request("POST", "/echo", BODY);
            loops.spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    let response = sender.send(request.clone()).await;
                    assert_eq!(response.status(), StatusCode::OK);
                    let body = response.into_body().collect().await.expect("whole");
                    assert_eq!(body.to_bytes().len(), BODY.len());
                    if began >= from {
                        times.push(began.elapsed().as_secs_f64() * 1e3);
                    }
                }
                times
            });
        }
        let times = loops.join_all().await.concat();
        Result::of(times, measured)
    }

    /// How late events arrive after the function wrote them.
    pub(crate) async fn events(&self, span: Duration, apart: Duration) -> Result {
        let count = span.as_millis() / apart.as_millis();
        let path = format!("/events?interval_ms={}&count={count}", apart.as_millis());
        let mut sender = self.connect().await;
        let request = self.request("GET", &path, "");
        let mut body = sender.send(request).await.into_body();
        let mut times = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("whole").into_data().unwrap_or_default();
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            for line in String::from_utf8_lossy(&data).lines() {
                let at = line
                    .rsplit_once(":")
                    .map(|(_, at)| at.trim_end_matches('}'));
                if let Some(at) = at.and_then(|at| at.parse::<f64>().ok()) {
                    times.push((now.as_secs_f64() * 1e6 - at) / 1e3);
                }
            }
        }
        assert_eq!(times.len() as u128, count, "all events");
        Result::of(times, span)
    }

    fn request(&self, method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
        let uri = match self.protocol {
            Protocol::Http1 => path.to_owned(),
            Protocol::H2c => format!("http://{}{path}", self.host),
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.key));
        let request = match self.protocol {
            Protocol::Http1 => request.header("host", &self.host),
            Protocol::H2c => request,
        };
        request.body(Full::from(body)).expect("a request")
    }

    async fn connect(&self) -> Sender {
        let stream = TcpStream::connect(self.to).await.expect("it listens");
        stream.set_nodelay(true).expect("open");
        let io = TokioIo::new(stream);
        match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
                // Ends with its sender; the bench ends right after.
                drop(tokio::spawn(connection));
                Sender::One(sender)
            }
            Protocol::H2c => {
                let made = http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = made.expect("HTTP/2");
                drop(tokio::spawn(connection));
                Sender::Two(sender)
            }
        }
    }
}

// === impl Sender ===

impl Sender {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let sent = match self {
            Self::One(sender) => {
                sender.ready().await.expect("open");
                sender.send_request(request).await
            }
            Self::Two(sender) => sender.send_request(request).await,
        };
        sent.expect("an answer")
    }
}

// === impl Result ===

impl Result {
    #[allow(clippy::cast_precision_loss, reason = "counts of calls are small")]
    fn of(mut times: Vec<f64>, measured: Duration) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |per_mille: usize| {
            let index = times.len() * per_mille / 1000;
            times.get(index).copied().unwrap_or_default()
        };
        Self {
            calls: times.len(),
            rate: times.len() as f64 / measured.as_secs_f64(),
            p50: at(500),
            p99: at(990),
        }
    }
}
