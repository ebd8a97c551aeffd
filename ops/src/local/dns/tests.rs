//! The server as a client sees it: over UDP, over TCP, and while its records change.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::local::block;
use crate::local::files;
use crate::local::http;

struct Running {
    listen: SocketAddr,
    admin: String,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
    _lock: std::net::TcpListener,
}

async fn start() -> Running {
    let regions = ["us-east".parse().expect("valid")];
    let (plan, lock) = block::claim(&regions).expect("block");
    let dir = tempfile::tempdir().expect("folder");
    let config = dir.path().join("dns.toml");
    std::fs::write(&config, files::dns(&plan).expect("text")).expect("written");
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { run(&config, token).await });
    let admin = format!("http://{}", plan.dns_admin());
    http::until_ok(&format!("{admin}/ready"), Duration::from_secs(5))
        .await
        .expect("ready");
    Running {
        listen: plan.dns().into(),
        admin,
        stop,
        task,
        _dir: dir,
        _lock: lock,
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(name.parse::<Name>().expect("name"), kind));
    message
}

async fn udp(to: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    socket
        .send_to(&message.to_vec().expect("bytes"), to)
        .await
        .expect("sent");
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await;
    Message::from_vec(&buffer[..received.expect("in time").expect("received")]).expect("message")
}

async fn tcp(to: SocketAddr, message: &Message) -> Message {
    let mut stream = TcpStream::connect(to).await.expect("connected");
    let bytes = message.to_vec().expect("bytes");
    stream
        .write_u16(u16::try_from(bytes.len()).expect("short"))
        .await
        .expect("sent");
    stream.write_all(&bytes).await.expect("sent");
    let mut answer = vec![0; stream.read_u16().await.expect("length").into()];
    stream.read_exact(&mut answer).await.expect("answer");
    Message::from_vec(&answer).expect("message")
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    message
        .answers
        .iter()
        .filter_map(|r| {
            if let RData::A(a) = r.data {
                Some(a.0)
            } else {
                None
            }
        })
        .collect()
}

#[tokio::test]
async fn answers_over_udp_and_tcp_and_changes_at_run_time() {
    let dns = start().await;
    let ask = question("us-east.regions.frontdoor.test.", RecordType::A);
    for answer in [udp(dns.listen, &ask).await, tcp(dns.listen, &ask).await] {
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.metadata.authoritative);
        assert_eq!(answer.metadata.id, ask.metadata.id);
        assert_eq!(addresses(&answer).len(), 1);
        assert_eq!(answer.answers[0].ttl, 5);
        assert_eq!(addresses(&answer)[0].octets()[3], 111);
    }
    let none = udp(
        dns.listen,
        &question("us-east.regions.frontdoor.test.", RecordType::AAAA),
    )
    .await;
    assert_eq!(
        (none.metadata.response_code, none.answers.len()),
        (ResponseCode::NoError, 0)
    );
    assert_eq!(none.authorities.len(), 1, "the SOA");
    let other = udp(dns.listen, &question("example.com.", RecordType::A)).await;
    assert_eq!(other.metadata.response_code, ResponseCode::Refused);

    let records = format!("{}/records", dns.admin);
    let set = async |body: serde_json::Value| {
        let (status, _) = http::send("PUT", &records, None, Some(&body))
            .await
            .expect("answered");
        assert_eq!(status, 200);
        udp(dns.listen, &ask).await
    };
    let dead = set(serde_json::json!({"us-east": ["127.9.9.9"]})).await;
    assert_eq!(addresses(&dead), [Ipv4Addr::new(127, 9, 9, 9)]);
    let sick = set(serde_json::json!({"us-east": "servfail"})).await;
    assert_eq!(sick.metadata.response_code, ResponseCode::ServFail);

    dns.stop.cancel();
    dns.task.await.expect("joined").expect("stopped in order");
}

#[tokio::test]
async fn edns_is_answered_in_kind() {
    let dns = start().await;
    let mut ask = question("us-east.regions.frontdoor.test.", RecordType::A);
    assert!(udp(dns.listen, &ask).await.edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    ask.set_edns(edns.clone());
    let answer = udp(dns.listen, &ask).await;
    assert_eq!(answer.edns.expect("edns").max_payload(), UDP_PAYLOAD);
    edns.set_version(1);
    ask.set_edns(edns);
    // BADVERS and BADSIG are one number (RFC 6895 §2.3).
    let refused = udp(dns.listen, &ask).await.metadata.response_code;
    assert_eq!(u16::from(refused), u16::from(ResponseCode::BADVERS));
    dns.stop.cancel();
}
