//! Against a collector of our own that speaks HTTP over real sockets, with and without TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::span::Kind;

/// What a collector was sent: path, content type, body.
type Sent = (String, String, ExportTraceServiceRequest);

async fn collect(
    request: Request<Incoming>,
    seen: mpsc::Sender<Sent>,
    status: StatusCode,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let kind = request.headers()[http::header::CONTENT_TYPE].clone();
    assert!(request.headers().contains_key(http::header::HOST));
    let body = request.into_body().collect().await?.to_bytes();
    let body = ExportTraceServiceRequest::decode(body).expect("protobuf");
    let kind = kind.to_str().expect("text").to_owned();
    let _ = seen.send((path, kind, body)).await;
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

/// A collector that answers with `status`; what it was sent.
async fn collector(
    tls: Option<TlsAcceptor>,
    status: StatusCode,
) -> (SocketAddr, mpsc::Receiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (seen, sent) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, tls) = (seen.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, seen, status).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, seen, status).await;
                        }
                    }
                }
            });
        }
    });
    (address, sent)
}

async fn serve<S>(stream: S, seen: mpsc::Sender<Sent>, status: StatusCode)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| collect(request, seen.clone(), status));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn settings(endpoint: &str, ca: Option<PathBuf>, queue: usize) -> Telemetry {
    Telemetry {
        endpoint: Some(endpoint.parse().expect("a URI")),
        ca,
        share: 1 << 32,
        queue,
    }
}

fn opened(settings: &Telemetry) -> (Spans, Exporter, Counts) {
    let counts = Counts::register(&Registry::new(), "test").expect("fresh");
    let teller = Teller {
        service: "frontdoor-test",
        instance: 7,
        region: Some("us-east"),
    };
    let (spans, exporter) = open(settings, teller, counts.clone()).expect("opens");
    (spans, exporter.expect("wanted"), counts)
}

fn span(number: u64) -> Span {
    let trace = Trace::read(None, 0xabc, number);
    let took = Duration::from_millis(5);
    Span::ended(trace, Kind::Server, "POST", SystemTime::now(), took).with("n", Some("x"))
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

#[tokio::test]
async fn spans_reach_a_collector_in_batches_also_at_a_stop() {
    let (address, mut sent) = collector(None, StatusCode::OK).await;
    let (spans, exporter, counts) = opened(&settings(&format!("http://{address}/"), None, 100));
    assert!(spans.wants(&Trace::read(None, 1, 1)));
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    spans.tell(span(1));
    spans.tell(span(2));
    let (path, kind, body) = within("a batch", sent.recv()).await.expect("sent");
    assert_eq!((&*path, &*kind), ("/v1/traces", "application/x-protobuf"));
    let resource = &body.resource_spans[0];
    let said = format!("{:?}", resource.resource);
    for word in [
        "service.name",
        "frontdoor-test",
        "frontdoor.region",
        "us-east",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let got = &resource.scope_spans[0].spans;
    assert_eq!(got.len(), 2, "one batch");
    assert_eq!(got[0].trace_id, 0xabc_u128.to_be_bytes());
    assert_eq!(got[1].span_id, 2_u64.to_be_bytes());
    let took = got[0].end_time_unix_nano - got[0].start_time_unix_nano;
    assert_eq!(took, 5_000_000);

    spans.tell(span(3));
    stop.cancel();
    within("the end", running).await.expect("no panic");
    let (_, _, last) = sent.recv().await.expect("sent at the stop");
    assert_eq!(last.resource_spans[0].scope_spans[0].spans.len(), 1);
    assert_eq!((counts.sent.get(), counts.failed.get()), (3, 0));
    spans.tell(span(4));
    assert_eq!(counts.dropped.get(), 1, "nobody takes it any more");
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_away() {
    // A port that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let (spans, exporter, counts) = opened(&settings(&format!("http://{address}"), None, 10));
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    let began = Instant::now();
    for number in 1..=10_000 {
        spans.tell(span(number));
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert!(
        counts.dropped.get() >= 10_000 - 10,
        "{}",
        counts.dropped.get()
    );
    eventually(|| counts.failed.get() > 0).await;
    spans.tell(span(1));
    stop.cancel();
    let began = Instant::now();
    within("the end", running).await.expect("no panic");
    assert!(began.elapsed() < 2 * LAST, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_batch_on_its_way_does_not_hold_up_a_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let (spans, exporter, _counts) = opened(&settings(&format!("http://{address}"), None, 10));
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    spans.tell(span(1));
    // Held open to the end, and never answered.
    let accepted = within("a connection", silent.accept()).await;
    let (taken, _) = accepted.expect("a connection");
    within("a request", taken.readable()).await.expect("open");
    spans.tell(span(2));
    stop.cancel();
    let began = Instant::now();
    within("the end", running).await.expect("no panic");
    assert!(began.elapsed() < 3 * LAST, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted() {
    let (address, mut sent) = collector(None, StatusCode::BAD_REQUEST).await;
    let (spans, exporter, counts) = opened(&settings(&format!("http://{address}"), None, 10));
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    spans.tell(span(1));
    within("a batch", sent.recv()).await.expect("sent");
    eventually(|| counts.failed.get() == 1).await;
    stop.cancel();
    within("the end", running).await.expect("no panic");
    assert_eq!(counts.sent.get(), 0);
}

async fn eventually(holds: impl Fn() -> bool) {
    within("it", async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An authority in a file, and a server with a certificate of it.
fn secured(folder: &std::path::Path, name: &str) -> (PathBuf, TlsAcceptor) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed");
    let file = folder.join(format!("{name}.pem"));
    std::fs::write(&file, authority.pem()).expect("written");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("signed");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .expect("fits");
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_collector_over_tls_must_be_the_right_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, tls) = secured(folder.path(), "ours");
    let (others, _) = secured(folder.path(), "others");
    let (address, mut sent) = collector(Some(tls), StatusCode::OK).await;
    let endpoint = format!("https://localhost:{}", address.port());
    for (ca, trusted) in [(ours, true), (others, false)] {
        let (spans, exporter, counts) = opened(&settings(&endpoint, Some(ca), 10));
        let stop = CancellationToken::new();
        let running = tokio::spawn(exporter.run(stop.clone()));
        spans.tell(span(1));
        eventually(|| counts.sent.get() + counts.failed.get() > 0).await;
        assert_eq!(counts.sent.get(), u64::from(trusted));
        assert_eq!(sent.try_recv().is_ok(), trusted);
        stop.cancel();
        within("the end", running).await.expect("no panic");
    }
    let missing = settings(&endpoint, Some(folder.path().join("none.pem")), 10);
    let counts = Counts::register(&Registry::new(), "test").expect("fresh");
    let teller = Teller {
        service: "frontdoor-test",
        instance: 7,
        region: None,
    };
    let error = open(&missing, teller, counts).expect_err("no such file");
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[tokio::test]
async fn without_an_endpoint_there_is_nothing() {
    let off = Telemetry {
        endpoint: None,
        ..settings("http://unused", None, 10)
    };
    let counts = Counts::register(&Registry::new(), "test").expect("fresh");
    let teller = Teller {
        service: "frontdoor-test",
        instance: 7,
        region: None,
    };
    let (spans, exporter) = open(&off, teller, counts.clone()).expect("opens");
    assert!(exporter.is_none() && !spans.wants(&Trace::read(None, 1, 1)));
    spans.tell(span(1));
    assert_eq!(counts.dropped.get(), 0);
}
