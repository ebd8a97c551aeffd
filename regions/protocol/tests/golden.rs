//! NVCF's messages byte by byte, assembled by hand from the field numbers and wire types of its contract: what its parts
//! would send is read, and what ours send its parts would read.

use frontdoor_protocol::authority::{ClientInvokeRequest, ClientInvokeResponse, FunctionVersion};
use frontdoor_protocol::envelope::{
    ConnectionConfig, Http1ProtocolConfig, StatelessConfig, Timestamp, WorkerInvokeFunctionRequest,
    WorkerResultTracking,
};
use prost::Message;

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, golden: &[u8]) {
    assert_eq!(message.encode_to_vec(), golden);
    assert_eq!(M::decode(golden).as_ref(), Ok(message));
}

#[test]
fn a_work_item_that_says_who_calls_and_where_the_rest_is() {
    let message = WorkerInvokeFunctionRequest {
        request_id: "r".into(),
        nca_id: "n".into(),
        subject: "s".into(),
        max_direct_response_size_bytes: 5 * 1024 * 1024,
        request_time: Some(Timestamp {
            seconds: 1,
            nanos: 500_000_000,
        }),
        request_method: "PUT".into(),
        request_path: "/".into(),
        stateless_config: Some(StatelessConfig {
            connection_configs: vec![ConnectionConfig {
                http1_config: Some(Http1ProtocolConfig {
                    proxy_uri: Some("p".into()),
                    target_uri: "u".into(),
                    response_authorization_token: "t".into(),
                    request_authorization_token: Some("q".into()),
                }),
            }],
        }),
        ..WorkerInvokeFunctionRequest::default()
    };
    check(
        &message,
        &[
            0x0a, 1, b'r', // 1: requestId
            0x12, 1, b'n', // 2: ncaId
            0x1a, 1, b's', // 3: subject
            0x28, 0x80, 0x80, 0xc0, 0x02, // 5: maxDirectResponseSizeBytes
            0x42, 8, 0x08, 1, // 8: requestTime: seconds,
            0x10, 0x80, 0xca, 0xb5, 0xee, 0x01, // nanos
            0x72, 3, b'P', b'U', b'T', // 14: requestMethod
            0x7a, 1, b'/', // 15: requestPath
            0x92, 0x01, 16, // 18: statelessConfig
            0x0a, 14, // 1: connectionConfigs
            0x0a, 12, // 1: http1Config
            0x0a, 1, b'p', // 1: proxyURI
            0x12, 1, b'u', // 2: targetURI
            0x1a, 1, b't', // 3: responseAuthorizationToken
            0x22, 1, b'q', // 4: requestAuthorizationToken
        ],
    );
}

#[test]
fn the_first_way_to_attach_that_is_known_counts() {
    let golden: &[u8] = &[
        0x92, 0x01, 18, // 18: statelessConfig
        0x0a, 5, // 1: connectionConfigs,
        0x12, 3, 0x0a, 1, b'x', // of a kind that is not known
        0x0a, 9, // and another one
        0x0a, 7, // 1: http1Config
        0x12, 2, b'u', b'1', // 2: targetURI
        0x1a, 1, b't', // 3: responseAuthorizationToken
    ];
    let item = WorkerInvokeFunctionRequest::decode(golden).expect("decodes");
    let way = item.attach().expect("a way");
    assert_eq!(
        (way.target_uri.as_str(), &way.request_authorization_token),
        ("u1", &None)
    );
    assert_eq!(
        item.request_method, "",
        "the whole request is to be fetched"
    );
}

#[test]
fn the_question_who_may_call_and_its_answer() {
    check(
        &ClientInvokeRequest {
            client_authorization_token: "k".into(),
            function_id: "f".into(),
            function_version_id: Some("v".into()),
            target_nca_id: Some("a".into()),
        },
        &[0x0a, 1, b'k', 0x12, 1, b'f', 0x1a, 1, b'v', 0x22, 1, b'a'],
    );
    check(
        &ClientInvokeResponse {
            function_id: "f".into(),
            function_versions: vec![FunctionVersion {
                function_version_id: "v".into(),
                default_invocation_path: Some("/p".into()),
                has_rate_limit: true,
                sync_check: true,
            }],
            client_auth_subject: "s".into(),
            client_nca_id: "a".into(),
        },
        &[
            0x0a, 1, b'f', // 1: functionId
            0x12, 11, // 2: functionVersions
            0x0a, 1, b'v', 0x12, 2, b'/', b'p', 0x18, 1, 0x20, 1, // its fields 1 to 4
            0x1a, 1, b's', // 3: clientAuthSubject
            0x22, 1, b'a', // 4: clientNcaId
        ],
    );
}

#[test]
fn whose_a_call_is_that_answered_202() {
    let message = WorkerResultTracking {
        function_id: "f".into(),
        function_version_id: "v".into(),
        request_time: Some(Timestamp {
            seconds: 1,
            nanos: 0,
        }),
    };
    check(
        &message,
        &[
            0x0a, 1, b'f', // 1: functionId
            0x12, 1, b'v', // 2: functionVersionId
            0x1a, 2, 0x08, 1, // 3: requestTime: seconds
        ],
    );
}
