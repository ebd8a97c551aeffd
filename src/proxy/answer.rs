//! Writes to the caller: heads of answers, problems, 100-continue. What they say was decided before.

use bytes::Bytes;
use frontdoor_protocol::names::RequestId;
use http::{Method, StatusCode, Version};
use pingora_core::Result;
use pingora_core::protocols::http::{SERVER_NAME, ServerSession};
use pingora_http::ResponseHeader;

use crate::response::{self, Problematic};

/// Writes the head of a region's answer; `end` if there is nothing after it.
pub(super) async fn write_head(
    session: &mut ServerSession,
    head: http::response::Parts,
    id: RequestId,
    end: bool,
) -> Result<()> {
    let mut head = ResponseHeader::from(head);
    response::from_region(&mut head, id)?;
    if let ServerSession::H2(session) = session {
        return session.write_response_header(Box::new(head), end);
    }
    head.set_version(Version::HTTP_11);
    frame(&mut head, session, end)?;
    session.write_response_header(Box::new(head)).await?;
    if end {
        session.finish_body().await
    } else {
        Ok(())
    }
}

/// HTTP/2 says by frames how long a body is; HTTP/1.1 says it in the head (RFC 9112 §6.3).
fn frame(head: &mut ResponseHeader, session: &ServerSession, end: bool) -> Result<()> {
    let request = session.req_header();
    let bodiless = request.method == Method::HEAD
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if bodiless || head.headers.contains_key(http::header::CONTENT_LENGTH) {
        Ok(())
    } else if end {
        head.insert_header(http::header::CONTENT_LENGTH, 0)
    } else if request.version == Version::HTTP_11 {
        head.insert_header(http::header::TRANSFER_ENCODING, "chunked")
    } else {
        // HTTP/1.0: the end of the connection is the end of the body.
        Ok(())
    }
}

/// Answers `Expect: 100-continue` (RFC 9110 §10.1.1): an HTTP/2 region never does, and the caller would wait in vain.
pub(super) async fn continue_body(session: &mut ServerSession) -> Result<()> {
    let expects = |session: &ServerSession| {
        let headers = &session.req_header().headers;
        headers.contains_key(http::header::EXPECT)
    };
    if !session.is_http2() && expects(session) {
        session.write_continue_response().await?;
    }
    Ok(())
}

/// Answers a browser that asks whether a page may call.
pub(super) async fn write_preflight(
    session: &mut ServerSession,
    told: &http::HeaderMap,
    id: RequestId,
) -> Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(told.len() + 4))?;
    head.insert_header(http::header::SERVER, &SERVER_NAME[..])?;
    for (name, value) in told {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(http::header::CONTENT_LENGTH, 0)?;
    response::from_region(&mut head, id)?;
    if let ServerSession::H2(session) = session {
        return session.write_response_header(Box::new(head), true);
    }
    session.write_response_header(Box::new(head)).await?;
    session.finish_body().await
}

/// Writes the edge's own answer.
pub(super) async fn write_problem(
    session: &mut ServerSession,
    problem: &Problematic,
    id: RequestId,
) -> Result<()> {
    let answer = problem.answer(id);
    let body = Bytes::from(answer.problem.to_json());
    let mut head = ResponseHeader::build(answer.status, Some(8))?;
    head.insert_header(http::header::SERVER, &SERVER_NAME[..])?;
    head.insert_header(
        http::header::CONTENT_TYPE,
        frontdoor_protocol::problem::CONTENT_TYPE,
    )?;
    head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    if let Some(after) = answer.retry_after {
        head.insert_header(
            http::header::RETRY_AFTER,
            after.as_secs().max(1).to_string(),
        )?;
    }
    response::from_region(&mut head, id)?;
    let bodiless = session.req_header().method == Method::HEAD;
    if let ServerSession::H2(session) = session {
        session.write_response_header(Box::new(head), bodiless)?;
    } else {
        session.write_response_header(Box::new(head)).await?;
    }
    if bodiless {
        session.finish_body().await
    } else {
        session.write_response_body(body, true).await
    }
}
