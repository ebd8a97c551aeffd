//! Tells Grafana about a drill, so that its marks stand on the dashboards between the lines they explain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::{SYSTEM_ROOTS, address};
use crate::load::trusting;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(10);
/// No answer of interest is longer.
const MAX_BODY: usize = 64 << 10;

/// Where annotations go.
#[derive(Clone)]
pub struct Grafana {
    /// Its base URL, `http` or `https`.
    pub url: String,
    /// A service account's token; never shown.
    pub token: String,
}

// Not derived: the token must not get into a log by accident.
impl std::fmt::Debug for Grafana {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grafana")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

// === impl Grafana ===

impl Grafana {
    /// Marks the time from `from` to `to`, in milliseconds since the epoch.
    pub(super) async fn mark(
        &self,
        from: u64,
        to: u64,
        drill: &str,
        text: &str,
    ) -> anyhow::Result<()> {
        let body = json!({ "time": from, "timeEnd": to, "tags": ["frontdoor", "drill", drill], "text": text });
        timeout(LIMIT, self.post(&body))
            .await
            .with_context(|| format!("Grafana at {} does not answer within {LIMIT:?}", self.url))?
            .with_context(|| format!("Grafana at {} has no mark of this drill", self.url))
    }

    async fn post(&self, body: &Value) -> anyhow::Result<()> {
        let url: http::Uri =
            format!("{}/api/annotations", self.url.trim_end_matches('/')).parse()?;
        let host = url.authority().context("no host in the URL")?.clone();
        let path = url.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::post(path)
            .header(header::HOST, host.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let stream = TcpStream::connect(address(&self.url)?).await?;
        if url.scheme_str() == Some("https") {
            let tls = trusting(
                &std::fs::read(SYSTEM_ROOTS).context(SYSTEM_ROOTS)?,
                &["http/1.1"],
            )?;
            let name = ServerName::try_from(host.host().to_owned())?;
            let stream = TlsConnector::from(Arc::clone(&tls))
                .connect(name, stream)
                .await?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!(e))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        ensure!(status.is_success(), "it answers {status}: {text}");
        Ok(())
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // The connection may end with the last byte of the answer, which is then there to be read.
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_mark_is_posted_with_the_token() {
        let (told, mut heard) = mpsc::channel(1);
        let handler = move |headers: HeaderMap, Json(body): Json<Value>| async move {
            let token = headers
                .get("authorization")
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            let status = if token == "Bearer secret" {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            told.send((token, body)).await.expect("heard");
            status
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let routes = axum::Router::new().route("/api/annotations", post(handler));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let grafana = |token: &str| Grafana {
            url: url.clone(),
            token: token.to_owned(),
        };
        grafana("secret")
            .mark(1000, 2000, "region-kill", "ok")
            .await
            .expect("marked");
        let (_, body) = heard.recv().await.expect("posted");
        assert_eq!(
            (body["time"].as_u64(), body["timeEnd"].as_u64()),
            (Some(1000), Some(2000))
        );
        assert_eq!(body["tags"][2], "region-kill");
        let error = grafana("wrong")
            .mark(1, 2, "x", "y")
            .await
            .expect_err("refused");
        assert!(format!("{error:#}").contains("401"), "{error:#}");
        assert!(!format!("{:?}", grafana("secret")).contains("secret"));
        server.abort();
    }
}
