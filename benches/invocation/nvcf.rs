//! NVIDIA's own invocation service, if `BENCH_NVCF` names its binary, between the same callers and a worker of ours that works for it
//! through the queue: what to be measured against on this machine, in the same run.
//!
//! It is built from github.com/NVIDIA/nvcf as `benches/README.md` says, and listens at ports 8080 and 6060, which must be free. The
//! authority that it asks about callers, NVCF's over gRPC, is played here; it is asked once a minute.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use frontdoor_protocol::authority::{ClientInvokeResponse, FunctionVersion};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::region::{
    FUNCTION, Process, REGION, Region, VERSION, free, frontdoor, nats_server, until, worker,
};

/// A region whose service is NVIDIA's.
pub(crate) struct Reference {
    pub(crate) region: Region,
    _authority: JoinSet<()>,
}

// === impl Reference ===

impl Reference {
    /// `None` if no binary is named.
    pub(crate) async fn start() -> Option<Self> {
        let binary = std::env::var_os("BENCH_NVCF")?;
        let folder = tempfile::tempdir().expect("a folder");
        let [bus, workers, container] = [(); 3].map(|()| free());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(allow_all(listener));
        let nats = nats_server(folder.path(), bus);
        until_open(bus).await;
        let mut service = Command::new(binary);
        service
            .current_dir(folder.path())
            .env("NVCF_API_ADDRESS", format!("http://{authority}"))
            .env("NATS_PROPERTIES__NATS_ADDRESS", format!("nats://{bus}"))
            .env("NATS_PROPERTIES__REGION", REGION)
            .env(
                "WORKER_STREAM_PROPERTIES__SELF_ADDRESS",
                format!("http://{}", front()),
            )
            .env("SERVER__ENVFILTER_DIRECTIVE", "warn")
            // It would ask the network where it is.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", "us-east-1");
        let region = Region {
            service: Process::start(&mut service),
            nats,
            worker: worker(folder.path(), workers, 0, bus, container),
            function: frontdoor(&["function", "--listen", &container.to_string()]),
            front: front(),
            container,
            folder,
        };
        until(workers, "/ready", "true").await;
        until_open(front()).await;
        Some(Self {
            region,
            _authority: tasks,
        })
    }
}

/// Where it listens: it cannot be told.
fn front() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// Waits until somebody listens.
async fn until_open(at: SocketAddr) {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(at).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nobody listens at {at}; BENCH_OUTPUT=1 shows why");
}

/// An authority that lets every caller in.
async fn allow_all(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let serve = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(allowed()) });
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

/// The answer of gRPC: a message with its length before it, and the status after it.
fn allowed() -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let answer = ClientInvokeResponse {
        function_id: FUNCTION.to_owned(),
        function_versions: vec![FunctionVersion {
            function_version_id: VERSION.to_owned(),
            ..FunctionVersion::default()
        }],
        client_auth_subject: "bench".to_owned(),
        client_nca_id: "bench".to_owned(),
    };
    let message = answer.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let body = Full::new(Bytes::from([&[0][..], &length, &message].concat()));
    let status = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let body = body
        .with_trailers(async { Some(Ok(status)) })
        .boxed_unsync();
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .expect("a response")
}
