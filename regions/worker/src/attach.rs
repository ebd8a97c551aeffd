//! The streams to the service that holds the caller: claim a call, fetch the rest of its body, bring the answer.
//!
//! Towards services that speak of claims everything to one address shares one h2c connection; towards NVIDIA's it is
//! HTTP/1.1, one connection a stream. Never decides what becomes of a call; `handle.rs` does.

mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::attach;
use frontdoor_protocol::attach::Form;
use frontdoor_protocol::attach::pieces::Pieces;
use frontdoor_protocol::attach::request::RequestHead;
use frontdoor_protocol::headers::FUNCTION_VERSION_ID;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;

use crate::body::{self, Body, Pipe};
use crate::h2c::{CONNECT_TIMEOUT, Multiplexed, SendError, Tasks};
use crate::item::Service;

pub(crate) use upload::{Gone, Tail, Upload};

/// How long the service may take to answer a claim, or to begin with a body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Services known at once. A region has a few; above this the oldest knowledge is dropped and dialled again.
const SERVICES_LIMIT: usize = 256;
/// Idle HTTP/1.1 connections are kept this long.
const IDLE: Duration = Duration::from_secs(60);

/// All ways to invocation services.
#[derive(Debug)]
pub(crate) struct Attach {
    tasks: Tasks,
    ping: Duration,
    services: Mutex<HashMap<Authority, Arc<Multiplexed>>>,
    http1: Client<HttpConnector, Body>,
}

/// A standing stream that the service answered with a call.
pub(crate) struct Standing {
    /// Brings the call, and then stays open as any claim's answer.
    pub(crate) answer: Incoming,
}

/// Why a claim did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Nobody waits for this call any more.
    #[error("refused")]
    Refused,
    /// The service did not say yes or no.
    #[error("the service does not answer: {0}")]
    Unreachable(String),
}

/// Why the rest of a body cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the request body cannot be fetched: {0}")]
pub(crate) struct FetchError(String);

/// Which wire a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// Ours.
    H2c,
    /// NVIDIA's.
    Http1,
}

// === impl Attach ===

impl Attach {
    pub(crate) fn new(tasks: Tasks, ping: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self {
            http1: Client::builder(tasks.clone())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .build(connector),
            services: Mutex::default(),
            tasks,
            ping,
        }
    }

    /// Asks whether the call may begin. The answer's stream is open from then on.
    pub(crate) async fn claim(&self, service: &Service) -> Result<Upload, ClaimError> {
        let (pipe, body) = body::pipe();
        let mut request = post(service, body);
        request
            .headers_mut()
            .insert(attach::CLAIM, HeaderValue::from_static(attach::CLAIM_ASKED));
        let response = self
            .timed(Wire::H2c, service, request)
            .await
            .map_err(ClaimError::Unreachable)?;
        let granted = response
            .headers()
            .get(attach::CLAIM)
            .is_some_and(|value| value == attach::CLAIM_GRANTED);
        match response.status() {
            StatusCode::OK if granted => Ok(Upload::claimed(pipe, response.into_body())),
            StatusCode::GONE | StatusCode::UNAUTHORIZED => Err(ClaimError::Refused),
            status => Err(ClaimError::Unreachable(format!("it answered {status}"))),
        }
    }

    /// Opens a standing stream; the future ends when a call is handed over, or with nothing.
    pub(crate) fn stand(
        &self,
        service: &Service,
        version: &HeaderValue,
        worker: &HeaderValue,
    ) -> (Pipe, impl Future<Output = Option<Standing>> + use<>) {
        let (pipe, body) = body::pipe();
        let mut request = post(service, body);
        let headers = request.headers_mut();
        headers.insert(attach::STANDBY, HeaderValue::from_static("1"));
        headers.insert(attach::WORKER, worker.clone());
        headers.insert(FUNCTION_VERSION_ID, version.clone());
        let connection = self.connection(&service.authority);
        let standing = async move {
            let response = connection.send(request).await.ok()?;
            let granted = response
                .headers()
                .get(attach::CLAIM)
                .is_some_and(|value| value == attach::CLAIM_GRANTED);
            (response.status() == StatusCode::OK && granted).then(|| Standing {
                answer: response.into_body(),
            })
        };
        (pipe, standing)
    }

    /// Opens the answer's stream at a service that does not speak of claims. `length` is that of the whole stream.
    pub(crate) fn late(&self, service: &Service, length: Option<u64>) -> Upload {
        let (pipe, body) = body::pipe();
        let mut request = post(service, body);
        if let Some(length) = length {
            let value = HeaderValue::from(length);
            request.headers_mut().insert(header::CONTENT_LENGTH, value);
        }
        Upload::late(pipe, self.http1.request(request))
    }

    /// The request body: what came with the message, and the rest by GET attach if there is more.
    pub(crate) async fn request_body(
        &self,
        service: &Service,
        start: Bytes,
        claimed: bool,
    ) -> Result<Body, FetchError> {
        let Some(token) = &service.body_token else {
            return Ok(if start.is_empty() {
                body::empty()
            } else {
                body::full(start)
            });
        };
        let response = self.fetch(service, token, claimed, Form::Body).await?;
        Ok(body::continued(start, response.into_body()))
    }

    /// The request as a whole by GET attach: its head, and its body.
    pub(crate) async fn whole_request(
        &self,
        service: &Service,
        claimed: bool,
    ) -> Result<(RequestHead, Body), FetchError> {
        let Some(token) = &service.body_token else {
            return Err(FetchError("there is no token for it".to_owned()));
        };
        let response = self.fetch(service, token, claimed, Form::Whole).await?;
        let read = tokio::time::timeout(ANSWER_TIMEOUT, read_head(response.into_body()));
        read.await
            .unwrap_or_else(|_| Err(FetchError("its head did not come in time".to_owned())))
    }

    async fn fetch(
        &self,
        service: &Service,
        token: &HeaderValue,
        claimed: bool,
        form: Form,
    ) -> Result<Response<Incoming>, FetchError> {
        let wire = if claimed { Wire::H2c } else { Wire::Http1 };
        let mut request = request(Method::GET, service, token, body::empty());
        let accept = HeaderValue::from_static(form.content_type());
        request.headers_mut().insert(header::ACCEPT, accept);
        let response = self
            .timed(wire, service, request)
            .await
            .map_err(FetchError)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(FetchError(format!("the service answered {status}"))),
        }
    }

    async fn timed(
        &self,
        wire: Wire,
        service: &Service,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        let response = async {
            match wire {
                Wire::H2c => {
                    let connection = self.connection(&service.authority);
                    let response = connection.send(request).await;
                    response.map_err(|error: SendError| error.to_string())
                }
                Wire::Http1 => {
                    let response = self.http1.request(request).await;
                    response.map_err(|error| error.to_string())
                }
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, response)
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    fn connection(&self, authority: &Authority) -> Arc<Multiplexed> {
        let services = self.services.lock();
        let mut services = services.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(authority) {
            return Arc::clone(known);
        }
        if services.len() >= SERVICES_LIMIT {
            services.clear();
        }
        let new = Multiplexed::new(authority.clone(), self.tasks.clone(), self.ping);
        let new = Arc::new(new);
        services.insert(authority.clone(), Arc::clone(&new));
        new
    }
}

/// Reads the head of a whole request; what follows it is the body.
async fn read_head(mut stream: Incoming) -> Result<(RequestHead, Body), FetchError> {
    let mut pieces = Pieces::<RequestHead>::default();
    loop {
        let frame = match stream.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(FetchError(error.to_string())),
            None => return Err(FetchError("it ends before its head does".to_owned())),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        match pieces.add(data) {
            Ok(Some((head, start))) => return Ok((head, body::continued(start, stream))),
            Ok(None) => {}
            Err(error) => return Err(FetchError(error.to_string())),
        }
    }
}

fn post(service: &Service, body: Body) -> Request<Body> {
    let mut request = request(Method::POST, service, &service.answer_token, body);
    request.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(attach::OCTETS_H1),
    );
    request
}

fn request(method: Method, service: &Service, token: &HeaderValue, body: Body) -> Request<Body> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(service.authority.clone());
    uri.path_and_query = Some(service.path.clone());
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Scheme, authority and path are all there, so the parts make a URI.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, token.clone());
    request
}
