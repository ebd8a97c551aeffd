//! Stand-in workers, written from the contract: one that claims over HTTP/2, and one that attaches late as NVIDIA's do.
//!
//! Tests script them step by step.

use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer};
use bytes::Bytes;
use frontdoor_protocol::attach::{CLAIM, OCTETS, OCTETS_H1, PATH, ResponseHead};
use frontdoor_protocol::envelope::WorkerInvokeFunctionRequest;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::client::{BoxBody, Connection, Reply, empty};
use crate::world::{REGION, VERSION, World};

/// Pulls work of the one version.
pub(crate) struct Puller {
    consumer: consumer::Consumer<consumer::pull::Config>,
}

/// One pulled work item.
pub(crate) struct Work {
    pub(crate) item: WorkerInvokeFunctionRequest,
    pub(crate) message: jetstream::Message,
}

/// Writes a body piece by piece. Dropped, it ends the body clean; nothing that was sent is lost, as it may be with
/// http-body-util's channel when the last piece and the end come together.
pub(crate) struct Feed(mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>);

/// A granted claim.
pub(crate) struct Claimed {
    pub(crate) body: Feed,
    response: Response<Incoming>,
    _connection: Connection,
}

// === impl Puller ===

impl Puller {
    pub(crate) async fn new(world: &World) -> Self {
        let jetstream = jetstream::new(world.nats_client().await);
        let region = REGION.parse().unwrap();
        let version = VERSION.parse().unwrap();
        let consumer = jetstream
            .get_consumer_from_stream(
                subject::work_consumer(&region, version),
                subject::work_stream(&region, version),
            )
            .await
            .expect("made by the service at start");
        Self { consumer }
    }

    pub(crate) async fn next(&self) -> Work {
        let mut batch = self
            .consumer
            .fetch()
            .max_messages(1)
            .expires(Duration::from_secs(10))
            .messages()
            .await
            .unwrap();
        let message = batch.next().await.expect("work").unwrap();
        Work {
            item: WorkerInvokeFunctionRequest::decode(message.payload.clone()).unwrap(),
            message,
        }
    }
}

// === impl Work ===

impl Work {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.as_ref()?.get(name).map(|v| v.as_str())
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<&str> {
        let header = self.item.request_headers.iter().find(|h| h.key == name)?;
        Some(&header.value)
    }

    pub(crate) fn inline(&self) -> &[u8] {
        self.item.request_body.as_deref().unwrap_or_default()
    }

    /// Opens POST attach with a claim over HTTP/2.
    pub(crate) async fn claim(&self) -> Result<Claimed, StatusCode> {
        let mut connection = self.connect(Version::HTTP_2).await;
        let (body, stream) = Feed::new();
        let mut request = post(&self.item, stream);
        request
            .headers_mut()
            .insert(CLAIM, HeaderValue::from_static("1"));
        let response = connection.send(request).await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(response.status());
        }
        assert_eq!(response.headers().get(CLAIM).unwrap(), "granted");
        Ok(Claimed {
            body,
            response,
            _connection: connection,
        })
    }

    /// Opens POST attach as NVIDIA's workers do: HTTP/1.1, after the container has answered.
    pub(crate) async fn bring(&self, body: BoxBody) -> Result<Reply, hyper::Error> {
        bring(&self.item, body).await
    }

    /// GET attach.
    pub(crate) async fn fetch(&self, version: Version) -> Result<Reply, hyper::Error> {
        self.fetch_as(version, OCTETS).await
    }

    pub(crate) async fn fetch_as(
        &self,
        version: Version,
        accept: &'static str,
    ) -> Result<Reply, hyper::Error> {
        let config = self.item.attach().unwrap();
        let token = config.request_authorization_token.as_deref();
        let mut connection = self.connect(version).await;
        let request = Request::get(format!("{}{PATH}", config.target_uri))
            .header(AUTHORIZATION, format!("Bearer {}", token.unwrap()))
            .header(ACCEPT, accept)
            .body(empty())
            .unwrap();
        Reply::read(connection.send(request).await?).await
    }

    pub(crate) async fn ack(&self) {
        self.message.ack_with(AckKind::Ack).await.unwrap();
    }

    async fn connect(&self, version: Version) -> Connection {
        connect(&self.item, version).await
    }
}

/// POST attach as NVIDIA's workers do, to wherever an item or a question says.
pub(crate) async fn bring(
    item: &WorkerInvokeFunctionRequest,
    body: BoxBody,
) -> Result<Reply, hyper::Error> {
    let mut connection = connect(item, Version::HTTP_11).await;
    Reply::read(connection.send(post(item, body)).await?).await
}

fn post(item: &WorkerInvokeFunctionRequest, body: BoxBody) -> Request<BoxBody> {
    let config = item.attach().unwrap();
    let token = &config.response_authorization_token;
    Request::post(format!("{}{PATH}", config.target_uri))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, OCTETS_H1)
        .body(body)
        .unwrap()
}

async fn connect(item: &WorkerInvokeFunctionRequest, version: Version) -> Connection {
    let config = item.attach().unwrap();
    let address = config.target_uri.strip_prefix("http://").unwrap();
    Connection::open(address.parse().unwrap(), version)
        .await
        .unwrap()
}

// === impl Feed ===

impl Feed {
    pub(crate) fn new() -> (Self, BoxBody) {
        let (sender, receiver) = mpsc::channel(16);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        (Self(sender), StreamBody::new(frames).boxed_unsync())
    }

    pub(crate) async fn send_data(&self, bytes: Bytes) -> Result<(), Gone> {
        self.send(Frame::data(bytes)).await
    }

    pub(crate) async fn send_trailers(&self, trailers: HeaderMap) -> Result<(), Gone> {
        self.send(Frame::trailers(trailers)).await
    }

    async fn send(&self, frame: Frame<Bytes>) -> Result<(), Gone> {
        self.0.send(Ok(frame)).await.map_err(|_| Gone)
    }
}

/// Nobody reads the body any more.
#[derive(Debug)]
pub(crate) struct Gone;

// === impl Claimed ===

impl Claimed {
    pub(crate) async fn head(&mut self, status: u16, headers: &[(&str, &str)]) {
        self.data(head(status, headers)).await;
    }

    pub(crate) async fn data(&mut self, bytes: impl Into<Bytes>) {
        self.body.send_data(bytes.into()).await.unwrap();
    }

    /// Ends the stream clean; returns once the service says that the caller has everything.
    pub(crate) async fn finish(self) -> Result<(), hyper::Error> {
        drop(self.body);
        let body = self.response.into_body().collect().await?;
        assert!(body.to_bytes().is_empty());
        Ok(())
    }

    /// Waits until the service says that the caller left.
    pub(crate) async fn caller_left(self) -> bool {
        let ended = self.response.into_body().collect();
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        ended.expect("in time").is_err()
    }

    /// Breaks the stream.
    pub(crate) async fn break_off(self) {
        let broken = Err(std::io::Error::other("broken on purpose"));
        // A service that gave up first is no matter.
        let _ = self.body.0.send(broken).await;
    }
}

/// The bytes of an answer's head.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    ResponseHead {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
    }
    .encode()
}
