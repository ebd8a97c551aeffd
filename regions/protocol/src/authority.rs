//! What an authority outside of the region is asked about a caller, and what it answers.
//!
//! Two wires. Ours is JSON over HTTP and tells the authority the key's SHA-256, never the key. NVCF's is gRPC
//! (`nvcf.Invocation/AuthClientInvocation`, proto3) and needs the token itself, since there the authority keeps the keys.
//! Only the messages are here; `regions/invocation` asks.

use serde::{Deserialize, Serialize};

use crate::key::KeyHash;
use crate::names::{FunctionId, VersionId};

/// The path of NVCF's gRPC method.
pub const GRPC_PATH: &str = "/nvcf.Invocation/AuthClientInvocation";
/// An answer above this many bytes is not read: a thousand versions fit.
pub const ANSWER_LIMIT: usize = 256 * 1024;

/// The question of the HTTP callout: may this key make this call?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The call's method.
    pub method: String,
    /// The host it was sent to, in lower case, without a port.
    pub host: String,
    /// Its path without the query; only where the region is told to send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The function called.
    pub function: FunctionId,
    /// The version, if the caller insists on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Who asks.
    pub key_sha256: KeyHash,
}

/// The answer of the HTTP callout, with status 200. A bare 401 (not known) or 403 (not this function) says no as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether the call may go on.
    pub allow: bool,
    /// What the container is told of who calls.
    #[serde(default)]
    pub identity: Option<String>,
    /// How long this answer holds, in seconds; 0 means ask every time. The region's own default if absent.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// The versions that may be called; all if absent.
    #[serde(default)]
    pub versions: Option<Vec<VersionId>>,
}

/// NVCF's question.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientInvokeRequest {
    /// The caller's bearer token. Never logged.
    #[prost(string, tag = "1")]
    pub client_authorization_token: String,
    /// The function called.
    #[prost(string, tag = "2")]
    pub function_id: String,
    /// The version, if the caller insists on one.
    #[prost(string, optional, tag = "3")]
    pub function_version_id: Option<String>,
    /// The account whose function it is, if the caller says.
    #[prost(string, optional, tag = "4")]
    pub target_nca_id: Option<String>,
}

/// NVCF's answer: the caller may call these versions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientInvokeResponse {
    /// The function called.
    #[prost(string, tag = "1")]
    pub function_id: String,
    /// The versions that may be called.
    #[prost(message, repeated, tag = "2")]
    pub function_versions: Vec<FunctionVersion>,
    /// Who calls.
    #[prost(string, tag = "3")]
    pub client_auth_subject: String,
    /// The account that calls.
    #[prost(string, tag = "4")]
    pub client_nca_id: String,
}

/// A version in NVCF's answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FunctionVersion {
    /// Its id.
    #[prost(string, tag = "1")]
    pub function_version_id: String,
    /// Where calls without a path of their own go.
    #[prost(string, optional, tag = "2")]
    pub default_invocation_path: Option<String>,
    /// Whether a rate limit is set for it; this service has none of NVCF's limiter.
    #[prost(bool, tag = "3")]
    pub has_rate_limit: bool,
    /// Whether that limit is asked before the call.
    #[prost(bool, tag = "4")]
    pub sync_check: bool,
}

// === impl Ask ===

impl Ask {
    /// The request body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

// === impl Told ===

impl Told {
    /// Reads an answer; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    const F: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";

    #[test]
    fn the_callout_is_the_documented_json() {
        let ask = Ask {
            method: "POST".into(),
            host: "x.invocation.localhost".into(),
            path: None,
            function: F.parse().expect("valid"),
            version: None,
            key_sha256: KeyHash([0xab; 32]),
        };
        let text = String::from_utf8(ask.encode()).expect("text");
        let hash = "ab".repeat(32);
        assert_eq!(
            text,
            format!(
                r#"{{"method":"POST","host":"x.invocation.localhost","function":"{F}","key_sha256":"{hash}"}}"#
            )
        );
        let told = Told::decode(br#"{"allow":true,"identity":"a","more":1}"#).expect("valid");
        assert!(told.allow && told.ttl_seconds.is_none() && told.versions.is_none());
        for wrong in [
            "",
            "{}",
            "{\"allow\":1}",
            "[]",
            "{\"allow\":true,\"versions\":[\"x\"]}",
        ] {
            assert_eq!(Told::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn nvcfs_messages_have_nvcfs_numbers() {
        let question = ClientInvokeRequest {
            client_authorization_token: "t".into(),
            function_id: "f".into(),
            function_version_id: Some("v".into()),
            target_nca_id: None,
        };
        assert_eq!(
            question.encode_to_vec(),
            b"\x0a\x01t\x12\x01f\x1a\x01v",
            "1 token, 2 function, 3 version"
        );
        let bytes = b"\x0a\x01f\x12\x09\x0a\x01v\x12\x02/p\x18\x01\x1a\x01s\x22\x01n";
        let answer = ClientInvokeResponse::decode(&bytes[..]).expect("valid");
        assert_eq!(answer.client_auth_subject, "s");
        assert_eq!(answer.client_nca_id, "n");
        let version = &answer.function_versions[0];
        assert_eq!(version.function_version_id, "v");
        assert_eq!(version.default_invocation_path.as_deref(), Some("/p"));
        assert!(version.has_rate_limit && !version.sync_check);
    }
}
