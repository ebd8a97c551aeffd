//! NVCF's own authority: gRPC `nvcf.Invocation/AuthClientInvocation` over HTTP/2.
//!
//! It keeps the keys, so the caller's token goes to it, and into no log. Unary calls need no gRPC library: one framed
//! message each way, and a status in the trailers (or, where nothing else came, in the headers).

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use frontdoor_protocol::authority::{ClientInvokeRequest, ClientInvokeResponse, GRPC_PATH};
use frontdoor_protocol::names::VersionId;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use prost::Message as _;

use super::super::cache::Question;
use super::super::verdict::{Answer, Caller, Denied, Verdict, is_name};
use super::Fault;
use super::wire::{Reply, Wire};

/// Before each message: not compressed (1 byte), and its length (4 bytes).
const FRAME: usize = 5;

/// An authority of NVCF's kind.
pub(super) struct Nvcf {
    wire: Wire,
    uri: Uri,
    token_file: Option<PathBuf>,
}

// === impl Nvcf ===

impl Nvcf {
    /// `base` has no path.
    pub(super) fn new(wire: Wire, base: &Uri, token_file: Option<PathBuf>) -> Self {
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(GRPC_PATH));
        Self {
            wire,
            // Scheme and authority are there: the settings saw to it.
            uri: Uri::from_parts(parts).unwrap_or_else(|_| base.clone()),
            token_file,
        }
    }

    pub(super) async fn ask(&self, question: &Question, token: &[u8]) -> Result<Answer, Fault> {
        // A token that is no text can be nobody's.
        let Ok(token) = std::str::from_utf8(token) else {
            return Ok(answer(Err(Denied::Unknown)));
        };
        let message = ClientInvokeRequest {
            client_authorization_token: token.to_owned(),
            function_id: question.function.to_string(),
            function_version_id: question.version.map(|version| version.to_string()),
            target_nca_id: None,
        };
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(framed(&message)))
            .map_err(|_| Fault::Malformed("the question"))?;
        if let Some(ours) = self.own_token().await? {
            request.headers_mut().insert(AUTHORIZATION, ours);
        }
        read(&self.wire.send(request).await?)
    }

    /// Read anew each time: whoever renews it replaces the file.
    async fn own_token(&self) -> Result<Option<HeaderValue>, Fault> {
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let text = tokio::fs::read_to_string(file).await;
        let text = text.map_err(Fault::Token)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .map_err(|_| Fault::Malformed("our own token, which is no header value"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

const fn answer(verdict: Verdict) -> Answer {
    Answer { verdict, ttl: None }
}

fn framed(message: &ClientInvokeRequest) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME + length);
    frame.put_u8(0);
    // A token is a header's value: kilobytes.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message.encode_to_vec());
    frame.freeze()
}

/// What an answer means.
fn read(reply: &Reply) -> Result<Answer, Fault> {
    if reply.status != StatusCode::OK {
        return Err(Fault::Status(reply.status));
    }
    let ends = [reply.trailers.as_ref(), Some(&reply.headers)];
    let Some(end) = ends
        .into_iter()
        .flatten()
        .find(|end| end.contains_key("grpc-status"))
    else {
        return Err(Fault::Malformed("no gRPC status"));
    };
    let code = text(end, "grpc-status")
        .and_then(|code| code.parse().ok())
        .ok_or(Fault::Malformed("the gRPC status is no number"))?;
    match code {
        0 => allowed(&reply.body).map(answer),
        code => denied(code, text(end, "grpc-message").unwrap_or_default())
            .map(|denied| answer(Err(denied)))
            .ok_or(Fault::Grpc(code)),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Which gRPC statuses are a no. The others are no answer: the authority is busy, broken or not what we think.
fn denied(code: u32, message: &str) -> Option<Denied> {
    match code {
        // UNKNOWN, with these words (percent-encoded on the wire).
        2 if message
            .replace("%20", " ")
            .contains("Cloud credits expired") =>
        {
            Some(Denied::Unpaid)
        }
        // NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, UNAUTHENTICATED
        5 => Some(Denied::NoFunction),
        7 => Some(Denied::Forbidden),
        9 => Some(Denied::NotReady),
        16 => Some(Denied::Unknown),
        _ => None,
    }
}

/// A yes, from the one message of the answer.
fn allowed(body: &[u8]) -> Result<Verdict, Fault> {
    let malformed = || Fault::Malformed("not one message of the known kind");
    let (frame, message) = body.split_at_checked(FRAME).ok_or_else(malformed)?;
    let [0, a, b, c, d] = *frame else {
        return Err(malformed());
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok();
    if length != Some(message.len()) {
        return Err(malformed());
    }
    let told = ClientInvokeResponse::decode(message).map_err(|_| malformed())?;
    let versions: Vec<VersionId> = told
        .function_versions
        .iter()
        .filter_map(|version| version.function_version_id.parse().ok())
        .collect();
    if versions.is_empty() {
        return Ok(Err(Denied::NoFunction));
    }
    let named = |name: &str| is_name(name).then(|| Arc::<str>::from(name));
    let (subject, account) = (named(&told.client_auth_subject), named(&told.client_nca_id));
    let (Some(subject), Some(account)) = (
        subject.clone().or_else(|| account.clone()),
        account.or(subject),
    ) else {
        return Err(Fault::Malformed("it names no caller"));
    };
    Ok(Ok(Caller {
        subject,
        account,
        versions: Some(versions.into()),
    }))
}

#[cfg(test)]
mod tests;
