//! Callers: one connection per call, HTTP/1.1 or HTTP/2, with any host.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::{DOMAIN, FUNCTION, KEY, World};

pub(crate) type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// An open connection; closes when dropped.
pub(crate) struct Connection {
    sender: Sender,
    _tasks: JoinSet<()>,
}

enum Sender {
    One(hyper::client::conn::http1::SendRequest<BoxBody>),
    Two(hyper::client::conn::http2::SendRequest<BoxBody>),
}

// === impl Reply ===

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    pub(crate) fn problem(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        })
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) async fn open(to: SocketAddr, version: Version) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let mut tasks = JoinSet::new();
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(std::io::Error::other)?;
            tasks.spawn(async move { drop(connection.await) });
            Sender::Two(sender)
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(io)
                .await
                .map_err(std::io::Error::other)?;
            tasks.spawn(async move { drop(connection.await) });
            Sender::One(sender)
        };
        Ok(Self {
            sender,
            _tasks: tasks,
        })
    }

    /// Sends a request whose URI names the host; HTTP/1.1 gets it as a header.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<BoxBody>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Two(sender) => sender.send_request(request).await,
            Sender::One(sender) => {
                let host = request.uri().authority().unwrap().as_str().parse().unwrap();
                request.headers_mut().entry(HOST).or_insert(host);
                let path = request.uri().path_and_query().unwrap().as_str();
                *request.uri_mut() = path.parse().unwrap();
                sender.send_request(request).await
            }
        }
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into())
        .map_err(|e| match e {})
        .boxed_unsync()
}

pub(crate) fn empty() -> BoxBody {
    Empty::new().map_err(|e| match e {}).boxed_unsync()
}

/// A call of the echo function, with the key that opens all.
pub(crate) fn call(method: Method, path: &str, body: BoxBody) -> Request<BoxBody> {
    Request::builder()
        .method(method)
        .uri(format!("http://{FUNCTION}.{DOMAIN}{path}"))
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .body(body)
        .unwrap()
}

/// Sends a request on a connection of its own and reads the whole answer.
pub(crate) async fn ask(world: &World, version: Version, request: Request<BoxBody>) -> Reply {
    let mut connection = Connection::open(world.front, version).await.unwrap();
    let response = connection.send(request).await.unwrap();
    Reply::read(response).await.unwrap()
}

pub(crate) async fn get(to: SocketAddr, host: &str, path: &str) -> Option<Reply> {
    let mut connection = Connection::open(to, Version::HTTP_11).await.ok()?;
    let request = Request::get(format!("http://{host}{path}"))
        .body(empty())
        .unwrap();
    let response = connection.send(request).await.ok()?;
    Reply::read(response).await.ok()
}
