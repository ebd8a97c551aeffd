//! The work item as it travels on JetStream: NVCF's `WorkerInvokeFunctionRequest` (proto3, package `nvcf`).
//!
//! Written by the invocation service, read by the worker. Only the messages and fields of the HTTP path are here;
//! unknown fields of NVIDIA's are skipped by protobuf. Limits that both ends keep stand beside the message.

/// At most this much of a request body rides inside the work item; the rest is fetched by GET attach.
pub const INLINE_BODY_LIMIT: usize = 32 * 1024;
/// The largest work item (NVCF's streams: `max_msg_size` 6 MiB).
pub const MESSAGE_LIMIT: usize = 6 * 1024 * 1024;
/// `maxDirectResponseSizeBytes`: always 5 MiB in NVCF; only its compatibility mode reads it.
pub const DIRECT_RESPONSE_LIMIT: u32 = 5 * 1024 * 1024;

/// NATS header (ours) on a work item whose invocation service decides at attach whether the worker may begin
/// (`attach.rs`). Absent on NVIDIA's: then a worker attaches late, as NVIDIA's does.
pub const CLAIM_HEADER: &str = "Frontdoor-Claim";
/// NATS header (ours): Unix milliseconds after which the work must not be started.
pub const DEADLINE_HEADER: &str = "Frontdoor-Deadline";

/// NATS header (ours) on a message that is no call: whoever pulls it says so on `subject::canary` of this id, and is done.
pub const CANARY_HEADER: &str = "Frontdoor-Canary";

/// One queued call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerInvokeFunctionRequest {
    /// `nvcf-reqid`.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The account that called.
    #[prost(string, tag = "2")]
    pub nca_id: String,
    /// Who called, as the authority names them; never a credential.
    #[prost(string, tag = "3")]
    pub subject: String,
    /// Presigned URL for large responses; compatibility mode only.
    #[prost(string, tag = "4")]
    pub large_response_url: String,
    /// See [`DIRECT_RESPONSE_LIMIT`].
    #[prost(uint32, tag = "5")]
    pub max_direct_response_size_bytes: u32,
    /// When the caller asked.
    #[prost(message, optional, tag = "8")]
    pub request_time: Option<Timestamp>,
    /// The first bytes of the body, all of it when no request token is given.
    #[prost(bytes = "vec", optional, tag = "10")]
    pub request_body: Option<Vec<u8>>,
    /// Address of NVCF's own gRPC service; unused on this path.
    #[prost(string, tag = "12")]
    pub direct_response_url: String,
    /// The caller's headers, in order, without hop-by-hop headers and `authorization`.
    #[prost(message, repeated, tag = "13")]
    pub request_headers: Vec<StringKv>,
    /// The caller's method; empty means "the whole request comes by GET attach".
    #[prost(string, tag = "14")]
    pub request_method: String,
    /// Path and query.
    #[prost(string, tag = "15")]
    pub request_path: String,
    /// Where to attach.
    #[prost(message, optional, tag = "18")]
    pub stateless_config: Option<StatelessConfig>,
}

/// Where a worker attaches: the first entry with `http1_config` is used.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatelessConfig {
    /// Ways to the invocation service, in order of preference.
    #[prost(message, repeated, tag = "1")]
    pub connection_configs: Vec<ConnectionConfig>,
}

/// One way to the invocation service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConnectionConfig {
    /// The `oneof config` of NVCF, which has this one case.
    #[prost(message, optional, tag = "1")]
    pub http1_config: Option<Http1ProtocolConfig>,
}

/// How to attach over HTTP.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Http1ProtocolConfig {
    /// A forward proxy to go through.
    #[prost(string, optional, tag = "1")]
    pub proxy_uri: Option<String>,
    /// Base URL of the invocation service instance that holds the caller.
    #[prost(string, tag = "2")]
    pub target_uri: String,
    /// Bearer token of the POST attach; good once.
    #[prost(string, tag = "3")]
    pub response_authorization_token: String,
    /// Bearer token of the GET attach; present only when there is more body than `request_body`.
    #[prost(string, optional, tag = "4")]
    pub request_authorization_token: Option<String>,
}

/// One header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StringKv {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Whose a call is that a late worker answered 202 to: what a region's tracking stream holds under its id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerResultTracking {
    /// The function.
    #[prost(string, tag = "1")]
    pub function_id: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub function_version_id: String,
    /// When its caller asked.
    #[prost(message, optional, tag = "3")]
    pub request_time: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since the epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

// === impl WorkerInvokeFunctionRequest ===

impl WorkerInvokeFunctionRequest {
    /// The way to attach, if the message names one that we can use.
    #[must_use]
    pub fn attach(&self) -> Option<&Http1ProtocolConfig> {
        self.stateless_config
            .as_ref()?
            .connection_configs
            .iter()
            .find_map(|c| c.http1_config.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// Golden bytes, assembled by hand from the field numbers and wire types of NVCF's contract.
    #[test]
    fn encodes_as_nvcf_does() {
        let message = WorkerInvokeFunctionRequest {
            request_id: "r".into(),
            request_body: Some(b"hi".to_vec()),
            request_headers: vec![StringKv {
                key: "a".into(),
                value: "b".into(),
            }],
            request_method: "POST".into(),
            request_path: "/echo".into(),
            stateless_config: Some(StatelessConfig {
                connection_configs: vec![ConnectionConfig {
                    http1_config: Some(Http1ProtocolConfig {
                        proxy_uri: None,
                        target_uri: "u".into(),
                        response_authorization_token: "t".into(),
                        request_authorization_token: None,
                    }),
                }],
            }),
            ..WorkerInvokeFunctionRequest::default()
        };
        let golden: &[u8] = &[
            0x0a, 1, b'r', // 1: requestId
            0x52, 2, b'h', b'i', // 10: requestBody
            0x6a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', // 13: requestHeaders
            0x72, 4, b'P', b'O', b'S', b'T', // 14: requestMethod
            0x7a, 5, b'/', b'e', b'c', b'h', b'o', // 15: requestPath
            0x92, 0x01, 10, // 18: statelessConfig
            0x0a, 8, // 1: connectionConfigs
            0x0a, 6, // 1: http1Config
            0x12, 1, b'u', 0x1a, 1, b't', // 2: targetURI, 3: responseAuthorizationToken
        ];
        assert_eq!(message.encode_to_vec(), golden);
        assert_eq!(
            WorkerInvokeFunctionRequest::decode(golden).expect("decodes"),
            message
        );
    }

    #[test]
    fn fields_we_do_not_know_are_skipped() {
        // 9: statefulConfig with an inner field, 2: ncaId.
        let bytes: &[u8] = &[0x4a, 3, 0x1a, 1, b'x', 0x12, 1, b'n'];
        assert_eq!(
            WorkerInvokeFunctionRequest::decode(bytes)
                .expect("decodes")
                .nca_id,
            "n"
        );
    }
}
