//! What goes into the answer's stream: the container's response as it comes, or a problem in our own words. The one
//! place of this crate where errors become HTTP.
//!
//! Each frame is passed on when it arrives. A response that breaks is broken off, never ended.

use bytes::Bytes;
use frontdoor_protocol::attach::{self, HEAD_LIMIT, HEADERS_LIMIT, ResponseHead};
use frontdoor_protocol::headers::{EXECUTION, Execution, remove_ours};
use frontdoor_protocol::problem::{self, Problem};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus::IntCounter;

use crate::attach::{FetchError, Gone, Tail, Upload};
use crate::call::{self, CallError, Lease};
use crate::item::Item;
use crate::settle::Outcome;

/// Why there is no response of the container to pass on.
#[derive(Debug)]
pub(super) struct Failure {
    slug: &'static str,
    title: &'static str,
    execution: Execution,
    detail: String,
}

/// What a body gave: a frame, an error, or its end.
type Next = Option<Result<Frame<Bytes>, hyper::Error>>;

/// A head and the start of a body are copied together up to this; more is not worth the copy.
const TOGETHER: usize = 4096;

/// What goes to the caller.
pub(super) enum Reply {
    /// The container's response as it is.
    AsItIs(Fitting),
    /// One made of it.
    Made(ResponseHead, Bytes),
}

/// A response that fits into an attach stream, with its head as it stands there.
pub(super) struct Fitting {
    pub(super) response: Response<Incoming>,
    /// What it comes on.
    pub(super) lease: Option<Lease>,
    head: Bytes,
}

// === impl Failure ===

impl Failure {
    /// The call was not made because its body could not be had.
    pub(super) fn body(error: &FetchError) -> Self {
        Self {
            slug: "request-body-lost",
            title: "The request body could not be fetched",
            execution: Execution::NotStarted,
            detail: error.to_string(),
        }
    }

    /// The call was made, or tried.
    pub(super) fn call(error: &CallError) -> Self {
        let (slug, title, execution) = match error {
            CallError::NotStarted(_) => (
                "container-unreachable",
                "The function container cannot be reached",
                Execution::NotStarted,
            ),
            CallError::Started(_) => (
                "container-failed",
                "The function container failed before it answered",
                Execution::Started,
            ),
        };
        Self {
            slug,
            title,
            execution,
            detail: error.to_string(),
        }
    }

    /// The container answered with something that cannot be passed on.
    fn response(detail: String) -> Self {
        Self {
            slug: "container-response",
            title: "The function container's answer cannot be passed on",
            execution: Execution::Started,
            detail,
        }
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) const fn outcome(&self) -> Outcome {
        match self.execution {
            Execution::NotStarted => Outcome::ContainerUnreachable,
            Execution::Started => Outcome::ContainerFailed,
        }
    }

    /// The whole answer: head and body. Addresses inside the region stay in our log.
    fn render(&self, item: &Item) -> (ResponseHead, Bytes) {
        let detail = match self.execution {
            Execution::NotStarted => "The call was not run; it is safe to try again.",
            Execution::Started => "The call may have run; try again only if it may run twice.",
        };
        let problem = Problem::new(self.slug, self.title, StatusCode::BAD_GATEWAY, detail);
        let body = Bytes::from(problem.for_request(item.id).to_json());
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if item.claim {
            // A service that does not speak of claims would pass our header on to its caller.
            let execution = HeaderValue::from_static(self.execution.as_str());
            headers.insert(EXECUTION, execution);
        }
        let status = StatusCode::BAD_GATEWAY;
        (ResponseHead { status, headers }, body)
    }
}

/// Takes a response only if it fits into an attach stream.
pub(super) fn checked(
    mut response: Response<Incoming>,
    lease: Option<Lease>,
) -> Result<Fitting, Failure> {
    call::of_answer(response.headers_mut());
    let status = response.status();
    if status.is_informational() {
        let detail = format!("it switched protocols with status {status}");
        return Err(Failure::response(detail));
    }
    let count = response.headers().len();
    let head = Bytes::from(attach::encode(status, response.headers()));
    if count > HEADERS_LIMIT || head.len() > HEAD_LIMIT {
        let detail = format!("its head of {count} headers is too large");
        return Err(Failure::response(detail));
    }
    Ok(Fitting {
        response,
        lease,
        head,
    })
}

/// How long the whole stream will be, if the container said so: services of NVIDIA's pass it on.
pub(super) fn stream_length(method: &Method, answer: &Result<Reply, Failure>) -> Option<u64> {
    let Fitting { response, head, .. } = match answer.as_ref().ok()? {
        Reply::AsItIs(fitting) => fitting,
        Reply::Made(head, body) => return Some((head.encode().len() + body.len()) as u64),
    };
    let bodyless = method == Method::HEAD
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let body = if bodyless {
        0
    } else {
        let length = response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse::<u64>().ok()?
    };
    body.checked_add(head.len() as u64)
}

/// Passes a response on, frame by frame. The HTTP client gives no body for HEAD, 204 and 304.
pub(super) async fn relay(
    fitting: Fitting,
    mut upload: Upload,
    bytes: &IntCounter,
) -> Result<Tail, Outcome> {
    let gone = |_: Gone| Outcome::CallerGone;
    let Fitting {
        response,
        lease,
        head,
    } = fitting;
    let mut body = response.into_body();
    let (start, mut next) = with_body(head, &mut body, bytes);
    upload.send(Frame::data(start)).await.map_err(gone)?;
    loop {
        let frame = match next.take() {
            Some(next) => next,
            None => tokio::select! {
                biased;
                frame = body.frame() => frame,
                _ = upload.gone() => return Err(Outcome::CallerGone),
            },
        };
        let frame = match frame {
            Some(Ok(frame)) => own_frame(frame),
            // Dropping the upload breaks the stream off.
            Some(Err(_)) => return Err(Outcome::ContainerFailed),
            None => {
                call::give_back(lease);
                return upload.finish().await.map_err(gone);
            }
        };
        // An empty frame says nothing, and the h2 crate allows a connection only so many of them in its whole life.
        let length = frame.data_ref().map(Bytes::len);
        if length != Some(0) {
            bytes.inc_by(length.unwrap_or(0) as u64);
            upload.send(frame).await.map_err(gone)?;
        }
    }
}

/// Answers in the container's place.
pub(super) async fn problem(
    failure: &Failure,
    item: &Item,
    upload: Upload,
) -> Result<Tail, Outcome> {
    let (head, body) = failure.render(item);
    whole(&head, body, upload).await
}

/// Answers with what is at hand.
pub(super) async fn whole(
    head: &ResponseHead,
    body: Bytes,
    mut upload: Upload,
) -> Result<Tail, Outcome> {
    let gone = |_: Gone| Outcome::CallerGone;
    let head = Bytes::from(head.encode());
    upload.send(Frame::data(head)).await.map_err(gone)?;
    if !body.is_empty() {
        upload.send(Frame::data(body)).await.map_err(gone)?;
    }
    upload.finish().await.map_err(gone)
}

/// A head and what of a short body is here already, to travel in one frame; and what came of the body instead of that.
fn with_body(head: Bytes, body: &mut Incoming, bytes: &IntCounter) -> (Bytes, Option<Next>) {
    match body.frame().now_or_never() {
        Some(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) if head.len() + data.len() <= TOGETHER => {
                bytes.inc_by(data.len() as u64);
                (Bytes::from([head, data].concat()), None)
            }
            Ok(data) => (head, Some(Some(Ok(Frame::data(data))))),
            Err(frame) => (head, Some(Some(Ok(frame)))),
        },
        Some(ended) => (head, Some(ended)),
        None => (head, None),
    }
}

/// Trailers are headers too: none of them is ours to take from a container.
fn own_frame(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            remove_ours(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}
