//! Where the worker attaches: decides claims, hands out bodies, takes answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use frontdoor_protocol::attach::{self, Form, ResponseHead};
use futures_util::{StreamExt, stream as streams};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) struct Pending {
    pub(super) refuse: bool,
    pub(super) head: oneshot::Sender<ResponseHead>,
    pub(super) frames: mpsc::Sender<Result<Bytes, io::Error>>,
    pub(super) left: oneshot::Receiver<()>,
}

#[derive(Default)]
pub(super) struct Desk {
    pub(super) answers: Mutex<HashMap<String, Pending>>,
    pub(super) bodies: Mutex<HashMap<String, (Form, Bytes)>>,
    pub(super) open: AtomicUsize,
    pub(super) most_open: AtomicUsize,
}

pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>, claims: bool) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let desk = Arc::clone(&desk);
                async move { Ok::<_, Infallible>(attach(desk, request, claims).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // As the worker's own windows: see there why the connection's is so large.
            builder
                .http2()
                .max_concurrent_streams(1000)
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(1 << 30);
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn attach(desk: Arc<Desk>, request: Request<Incoming>, claims: bool) -> Response<Body> {
    assert_eq!(request.uri().path(), attach::PATH);
    let version = if claims {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    assert_eq!(request.version(), version);
    let token = request.headers()[header::AUTHORIZATION].to_str().unwrap();
    let token = token.strip_prefix("Bearer ").unwrap().to_owned();
    if request.method() == Method::GET {
        let body = desk.bodies.lock().unwrap().remove(&token);
        let Some((form, body)) = body else {
            return status(StatusCode::UNAUTHORIZED);
        };
        assert_eq!(request.headers()[header::ACCEPT], form.content_type());
        return rest(body);
    }
    assert_eq!(request.headers()[header::CONTENT_TYPE], attach::OCTETS_H1);
    assert_eq!(request.headers().contains_key(attach::CLAIM), claims);
    let pending = desk.answers.lock().unwrap().remove(&token);
    let Some(pending) = pending else {
        return status(StatusCode::UNAUTHORIZED);
    };
    if pending.refuse {
        return status(StatusCode::GONE);
    }
    if !claims {
        // NVIDIA's answers when the caller has everything, or has left.
        let _ = forward(request.into_body(), pending).await;
        return status(StatusCode::OK);
    }
    let open = desk.open.fetch_add(1, Ordering::SeqCst) + 1;
    desk.most_open.fetch_max(open, Ordering::SeqCst);
    let (done, ended) = oneshot::channel();
    tokio::spawn(async move {
        let clean = forward(request.into_body(), pending).await;
        desk.open.fetch_sub(1, Ordering::SeqCst);
        if clean {
            let _ = done.send(());
        }
    });
    // Empty when the caller has everything, broken when the caller is gone.
    let end = streams::once(ended).filter_map(|ended| {
        std::future::ready(ended.err().map(|_| Err(io::Error::other("caller gone"))))
    });
    let mut response = Response::new(StreamBody::new(end).boxed_unsync());
    response
        .headers_mut()
        .insert(attach::CLAIM, attach::CLAIM_GRANTED.parse().unwrap());
    response
}

/// Reads an answer's stream; says whether it ended cleanly.
async fn forward(mut body: Incoming, mut pending: Pending) -> bool {
    let mut start = BytesMut::new();
    let mut head = Some(pending.head);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = &mut pending.left => return false,
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                start.extend_from_slice(&data);
            }
            Some(Err(error)) => {
                let _ = pending.frames.send(Err(io::Error::other(error))).await;
                return false;
            }
            None => return head.is_none(),
        }
        if let Some(out) = head.take() {
            match ResponseHead::decode(&start).expect("a valid head") {
                Some((decoded, length)) => {
                    let _ = start.split_to(length);
                    let _ = out.send(decoded);
                }
                None => {
                    head = Some(out);
                    continue;
                }
            }
        }
        if start.is_empty() {
            continue;
        }
        let sent = tokio::select! {
            sent = pending.frames.send(Ok(start.split().freeze())) => sent.is_ok(),
            _ = &mut pending.left => false,
        };
        if !sent {
            return false;
        }
    }
}

fn rest(bytes: Bytes) -> Response<Body> {
    let chunks: Vec<_> = bytes.chunks(100_000).map(Bytes::copy_from_slice).collect();
    let chunks = streams::iter(chunks).map(|chunk| Ok(Frame::data(chunk)));
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

fn status(status: StatusCode) -> Response<Body> {
    let empty = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(empty.boxed_unsync());
    *response.status_mut() = status;
    response
}
