//! The way to an authority: HTTP over kept connections, with TLS where its address says so.
//!
//! Over TLS the authority is known by its certificate, which must come from the file of authorities that is configured, or
//! else from the system's. Knows nothing of questions and verdicts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::authority::ANSWER_LIMIT;
use frontdoor_telemetry::trust::{self, RootsError};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::{ASKING, Fault};
use crate::tasks::Tasks;

/// Connections that stay open for the next question.
const IDLE: Duration = Duration::from_secs(60);
/// A silent gRPC connection is asked for a sign of life this often, and given up after as long again.
const PING: Duration = Duration::from_secs(5);

/// Why an authority could not be known by its certificate.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is nobody to believe.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The cryptography that we bring is of no use.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which protocol an authority speaks.
#[derive(Clone, Copy)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// An answer, whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// An HTTP client that keeps connections.
pub(super) struct Wire(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// By what an authority at this address is known. Without TLS nobody is.
pub(super) fn trust(uri: &Uri, ca: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let secured = uri.scheme_str() == Some("https");
    let roots = match secured || ca.is_some() {
        true => trust::roots(ca)?,
        false => RootCertStore::empty(),
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(
        tasks: Tasks,
        connect_timeout: Duration,
        speaks: Speaks,
        trust: ClientConfig,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_nodelay(true);
        // The layer above it tells the schemes apart.
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http();
        let connector = match speaks {
            Speaks::Http1 => connector.enable_http1().wrap_connector(tcp),
            Speaks::Http2 => connector.enable_http2().wrap_connector(tcp),
        };
        let client = Client::builder(tasks)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(ASKING)
            .http2_only(matches!(speaks, Speaks::Http2))
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector);
        Self(client)
    }

    /// Sends a request and reads the whole answer, which must not be long.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Fault> {
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Fault::Unreachable(causes(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|_| Fault::Malformed("it breaks off or is too long"))?;
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        })
    }
}

/// An error with its causes: the outermost alone does not say that a certificate is wrong.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let uri = Uri::from_static("https://localhost/");
        let file = tempfile::NamedTempFile::new().expect("writable");
        let empty = trust(&uri, Some(file.path()));
        assert!(matches!(
            empty,
            Err(TrustError::Roots(RootsError::Empty { .. }))
        ));
        let missing = trust(&uri, Some(Path::new("/nowhere/ca.pem")));
        assert!(matches!(
            missing,
            Err(TrustError::Roots(RootsError::Pem { .. }))
        ));
        let plain = Uri::from_static("http://localhost/");
        assert!(trust(&plain, None).is_ok());
    }
}
