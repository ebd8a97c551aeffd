//! HTTP/2 that is none: each error ends what RFC 9113 says it ends, a stream or the connection, and reaches no region.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, PADDED, PING, PUSH_PROMISE,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, call, frame,
};
use super::siege::Siege;
use crate::harness::host;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// A GET with other headers than the usual ones: `name: value` replaces or adds, `-name` takes away.
fn altered(changes: &[(&str, &str)]) -> Vec<u8> {
    let host = host();
    let mut headers = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &*host),
        (":path", "/x"),
        ("authorization", "Bearer key"),
    ];
    for (name, value) in changes {
        if let Some(gone) = name.strip_prefix('-') {
            headers.retain(|(name, _)| *name != gone);
        } else if let Some(twice) = name.strip_prefix('+') {
            headers.push((twice, *value));
        } else if let Some(header) = headers.iter_mut().find(|(old, _)| old == name) {
            header.1 = value;
        } else {
            headers.push((name, value));
        }
    }
    block(&headers)
}

/// Malformed requests (RFC 9113 §8.1.1): a stream error, or an answer that says so; the connection may go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_end_their_stream() {
    let siege = Siege::lay("").await;
    let other = format!("{}@evil.example", host());
    let cases: [(&str, &[(&str, &str)]); 25] = [
        ("an upper-case name", &[("X-Upper", "1")]),
        ("a connection header", &[("connection", "close")]),
        ("keep-alive", &[("keep-alive", "5")]),
        ("transfer-encoding", &[("transfer-encoding", "chunked")]),
        ("upgrade", &[("upgrade", "websocket")]),
        ("te other than trailers", &[("te", "gzip")]),
        ("no method", &[("-:method", "")]),
        ("no scheme", &[("-:scheme", "")]),
        ("no path", &[("-:path", "")]),
        ("an empty path", &[(":path", "")]),
        ("no host at all", &[("-:authority", "")]),
        ("two methods", &[("+:method", "GET")]),
        ("two paths", &[("+:path", "/y")]),
        (
            "a pseudo-header after others",
            &[("x-a", "1"), ("+:path", "/x")],
        ),
        ("a pseudo-header of an answer", &[(":status", "200")]),
        ("an unknown pseudo-header", &[(":evil", "1")]),
        ("another host", &[("host", "evil.example")]),
        (
            "two hosts",
            &[("-:authority", ""), ("host", "a"), ("+host", "b")],
        ),
        ("user info", &[(":authority", &other)]),
        ("an absolute path", &[(":path", "http://evil.example/x")]),
        (
            "a line break in a path",
            &[(":path", "/x HTTP/1.1\r\nEvil: 1")],
        ),
        ("a line break in a value", &[("x-a", "1\r\nEvil: 1")]),
        ("a line break in a name", &[("x-a\r\nevil", "1")]),
        ("a zero byte in a value", &[("x-a", "a\0b")]),
        (
            "two lengths",
            &[("content-length", "0"), ("+content-length", "3")],
        ),
    ];
    for (what, changes) in cases {
        let mut raw = Raw::open(&siege, &[]).await;
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &altered(changes));
        assert!(raw.send(&bytes).await);
        let end = raw.end().await;
        assert!(
            matches!(end, End::Reset(PROTOCOL_ERROR) | End::Answer(400 | 404 | 405))
                // Some of it the library takes for broken header compression, which RFC 9113 §4.3 allows to call so.
                || matches!(end, End::Away(PROTOCOL_ERROR | COMPRESSION_ERROR)),
            "{what}: {end:?}"
        );
        assert!(
            !siege.witness.saw("/x") && !siege.witness.saw("/y"),
            "{what}"
        );
    }
}

/// A body that is not as long as it says (RFC 9113 §8.1.1): what hid behind it is nobody's request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_as_long_as_it_says() {
    let siege = Siege::lay("").await;
    for (length, sent) in [
        ("1", "abc"),
        ("5", "abc"),
        ("-3", "abc"),
        ("+3", "abc"),
        ("0", "abc"),
    ] {
        let mut raw = Raw::open(&siege, &[]).await;
        let mut bytes = frame(
            HEADERS,
            END_HEADERS,
            1,
            &altered(&[("content-length", length)]),
        );
        bytes.extend(frame(DATA, END_STREAM, 1, sent.as_bytes()));
        assert!(raw.send(&bytes).await);
        let end = raw.end().await;
        assert!(
            matches!(end, End::Reset(_) | End::Answer(400)),
            "{length}: {end:?}"
        );
        // With a length of 0 it was whole by its head, and its region may have been asked before more came.
        assert!(length == "0" || !siege.witness.saw("/x"), "{length}");
    }
}

/// Errors that leave both ends with different ideas of the connection: it ends (RFC 9113 §5.4.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_connection_end_it() {
    let siege = Siege::lay("").await;
    let open = frame(HEADERS, END_HEADERS, 1, &call("/open"));
    let after = |more: Vec<u8>| [open.clone(), more].concat();
    let ended = frame(HEADERS, END_HEADERS | END_STREAM, 3, &call("/calm"));
    let whole = END_HEADERS | END_STREAM;
    let large = vec![0; 16_385];
    let cases = [
        ("data of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (
            "headers of no stream",
            frame(HEADERS, whole, 0, &call("/x")),
            PROTOCOL_ERROR,
        ),
        (
            "a stream of the server's",
            frame(HEADERS, whole, 2, &call("/x")),
            PROTOCOL_ERROR,
        ),
        (
            "an older stream",
            [ended, frame(HEADERS, whole, 1, &call("/x"))].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "data of an idle stream",
            frame(DATA, 0, 1, b"x"),
            PROTOCOL_ERROR,
        ),
        (
            "a window for an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            PROTOCOL_ERROR,
        ),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            PROTOCOL_ERROR,
        ),
        (
            "a frame too large",
            after(frame(DATA, 0, 1, &large)),
            FRAME_SIZE_ERROR,
        ),
        (
            "headers too large",
            frame(HEADERS, whole, 1, &large),
            FRAME_SIZE_ERROR,
        ),
        (
            "settings of five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            FRAME_SIZE_ERROR,
        ),
        (
            "settings of a stream",
            frame(SETTINGS, 0, 1, &[]),
            PROTOCOL_ERROR,
        ),
        (
            "an acknowledgement with settings",
            frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1]),
            FRAME_SIZE_ERROR,
        ),
        (
            "a window beyond all",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
            FLOW_CONTROL_ERROR,
        ),
        (
            "frames too small to be",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            PROTOCOL_ERROR,
        ),
        (
            "a ping of seven bytes",
            frame(PING, 0, 0, &[0; 7]),
            FRAME_SIZE_ERROR,
        ),
        (
            "a ping of a stream",
            frame(PING, 0, 1, &[0; 8]),
            PROTOCOL_ERROR,
        ),
        (
            "no more window",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        (
            "more window than there is",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW_CONTROL_ERROR,
        ),
        (
            "a promise",
            after(frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 8])),
            PROTOCOL_ERROR,
        ),
        (
            "headers that go on from nowhere",
            frame(CONTINUATION, 4, 1, b""),
            PROTOCOL_ERROR,
        ),
        (
            "headers with a ping in between",
            [
                frame(HEADERS, 0, 1, &call("/x")),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            PROTOCOL_ERROR,
        ),
        (
            "headers that go on elsewhere",
            [
                frame(HEADERS, 0, 1, &call("/x")),
                frame(CONTINUATION, END_HEADERS, 3, b""),
            ]
            .concat(),
            PROTOCOL_ERROR,
        ),
        (
            "more padding than frame",
            after(frame(DATA, PADDED, 1, &[200, 0, 0])),
            PROTOCOL_ERROR,
        ),
        (
            "no such entry",
            frame(HEADERS, whole, 1, &[0xff, 0xff, 0xff, 0x7f]),
            COMPRESSION_ERROR,
        ),
        (
            "entry zero",
            frame(HEADERS, whole, 1, &[0x80]),
            COMPRESSION_ERROR,
        ),
        (
            "half a literal",
            frame(HEADERS, whole, 1, &[0, 10, b'x']),
            COMPRESSION_ERROR,
        ),
        (
            "a table larger than allowed",
            frame(HEADERS, whole, 1, &[0x3f, 0xff, 0xff, 0xff, 0x7f]),
            COMPRESSION_ERROR,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut raw = Raw::open(&siege, &[]).await;
        assert!(raw.send(&bytes).await, "{what}");
        let mut end = raw.end().await;
        while matches!(end, End::Answer(_)) {
            end = raw.end().await;
        }
        let right = match end {
            End::Away(said) => said == code || said == PROTOCOL_ERROR || said == STREAM_CLOSED,
            End::Closed => true,
            _ => false,
        };
        assert!(right, "{what}: {end:?}");
        assert!(raw.closes().await, "{what}: it goes on");
        assert!(!siege.witness.saw("/x"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused() {
    let siege = Siege::lay("limits = { body = 10000 }").await;
    // Beyond SETTINGS_MAX_HEADER_LIST_SIZE, in headers that are each small enough.
    let many = block(&[("x-filler", &"y".repeat(100))]).repeat(400);
    let mut large = frame(HEADERS, END_STREAM, 1, &call("/x"));
    for part in many.chunks(16_000) {
        large.extend(frame(CONTINUATION, 0, 1, part));
    }
    large.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
    let announced = altered(&[("content-length", "10001")]);
    let announced = frame(HEADERS, END_HEADERS, 1, &announced);
    let mut body = frame(HEADERS, END_HEADERS, 1, &altered(&[]));
    for _ in 0..11 {
        body.extend(frame(DATA, 0, 1, &[b'x'; 1000]));
    }
    for (what, bytes, ends) in [
        (
            "headers",
            large,
            [End::Answer(431), End::Reset(PROTOCOL_ERROR)],
        ),
        ("announced body", announced, [End::Answer(413); 2]),
        ("body", body, [End::Answer(413); 2]),
    ] {
        let mut raw = Raw::open(&siege, &[]).await;
        assert!(raw.send(&bytes).await, "{what}");
        let end = raw.end().await;
        assert!(ends.contains(&end), "{what}: {end:?}");
        assert!(!siege.witness.saw("/x"), "{what}");
    }
}
