//! The small HTTP/1.1 client the stack asks its parts with: one request, one answer, a time limit, nothing kept.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(2);
/// No answer of a part is longer.
const MAX_BODY: usize = 4 << 20;
/// Pause between two looks at a part that is starting.
const PAUSE: Duration = Duration::from_millis(10);

/// Sends one request and returns status and body.
pub(crate) async fn send(
    method: &str,
    url: &str,
    token: Option<&str>,
    json: Option<&Value>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    send_within(LIMIT, method, url, token, json).await
}

/// The same with another time limit.
///
/// # Errors
/// If there is no whole answer within the limit.
pub async fn send_within(
    limit: Duration,
    method: &str,
    url: &str,
    token: Option<&str>,
    json: Option<&Value>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(header::CONNECTION, "close");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if json.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = json.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client
            .request(request)
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!("{url} broke off: {e}"))?;
        Ok((status, body.to_bytes()))
    };
    timeout(limit, exchange)
        .await
        .with_context(|| format!("{url} does not answer within {limit:?}"))?
}

/// Waits until a GET is answered with 200, and returns that answer.
pub(super) async fn until_ok(url: &str, limit: Duration) -> anyhow::Result<Bytes> {
    let deadline = Instant::now() + limit;
    let mut last = None;
    let wait = async {
        loop {
            match send("GET", url, None, None).await {
                Ok((StatusCode::OK, body)) => return body,
                Ok((status, body)) => {
                    last = Some(format!(
                        "{status}: {}",
                        String::from_utf8_lossy(&body).trim_end()
                    ));
                }
                Err(error) => last = Some(format!("{error:#}")),
            }
            sleep(PAUSE).await;
        }
    };
    match timeout_at(deadline, wait).await {
        Ok(body) => Ok(body),
        Err(_) => bail!(
            "not ready within {limit:?}; last answer: {}",
            last.as_deref().unwrap_or("none")
        ),
    }
}
