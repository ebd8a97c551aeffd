//! A small authoritative DNS for the regions' endpoint names, so that the edge of the local stack really resolves.
//!
//! Runs as a process of its own (`frontdoor local-dns -c FILE`). It serves UDP and TCP, and what it answers can be
//! changed at run time (`PUT /records` on its admin port), which is how drills serve dead addresses or failures.
//! It never resolves anything for anyone.

pub(super) mod zone;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use frontdoor_protocol::span::Span;
use hickory_proto::op::{Edns, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::DNSClass;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::admin;
use zone::{Records, Reply, Zone};

/// A TCP connection that asks nothing for this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Answers waiting to be written on one TCP connection.
const TCP_ANSWERS: usize = 16;
/// Largest answer over UDP that we send or claim to take: fits every path without fragments (RFC 9715 §3.2 R2).
const UDP_PAYLOAD: u16 = 1232;

/// The configuration file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// UDP and TCP.
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// The zone's name.
    pub(super) zone: String,
    pub(super) ttl: Span,
    /// What each region's name answers.
    pub(super) records: Records,
}

/// The zone as the server and its admin port share it; locked for the length of a look only.
#[derive(Clone)]
struct Shared(Arc<RwLock<Zone>>);

struct Handler(Shared);

/// Serves the zone until `shutdown`.
///
/// # Errors
/// If the configuration is wrong or a port cannot be opened.
pub(super) async fn run(config: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("{} cannot be read", config.display()))?;
    let file: File =
        toml::from_str(&text).with_context(|| format!("{} is not right", config.display()))?;
    let shared = Shared(Arc::new(RwLock::new(Zone::new(
        &file.zone,
        file.ttl.0,
        file.records,
    )?)));

    let opened = || format!("{} cannot be opened", file.listen);
    let mut server = Server::new(Handler(shared.clone()));
    server.register_socket(udp(file.listen).with_context(opened)?);
    let tcp = TcpListener::bind(file.listen).await.with_context(opened)?;
    server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
    tracing::info!(listen = %file.listen, zone = file.zone, "dns is serving");

    let routes: Router = admin::routes()
        .route("/records", get(records).put(set_records))
        .with_state(shared);
    let served = tokio::select! {
        served = admin::serve(file.admin, routes, shutdown) => served,
        ended = server.block_until_done() => ended.map_err(Into::into),
    };
    server.shutdown_gracefully().await?;
    served
}

/// Opens the UDP socket so that it may share its port with a wildcard one: laptops have an mDNS responder on
/// 0.0.0.0:5353, and the kernel hands our address's datagrams to the more exact socket.
fn udp(addr: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(UdpSocket::from_std(socket.into())?)
}

async fn records(State(shared): State<Shared>) -> Json<Records> {
    Json(shared.records())
}

/// Replaces the answers of the names given; others stay as they are.
async fn set_records(State(shared): State<Shared>, Json(changes): Json<Records>) -> Json<Records> {
    tracing::info!(?changes, "records change");
    shared.change(changes);
    Json(shared.records())
}

// === impl Shared ===

impl Shared {
    fn records(&self) -> Records {
        self.0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .records
            .clone()
    }

    fn change(&self, changes: Records) {
        self.0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .records
            .extend(changes);
    }

    fn reply(&self, request: &Request) -> Reply {
        let fail = |code| Reply {
            code,
            authoritative: false,
            answers: vec![],
            soa: None,
        };
        if request.metadata.message_type != MessageType::Query
            || request.metadata.op_code != OpCode::Query
        {
            return fail(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else {
            return fail(ResponseCode::FormErr);
        };
        if !matches!(info.query.query_class(), DNSClass::IN | DNSClass::ANY) {
            return fail(ResponseCode::Refused);
        }
        let zone = self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        zone.answer(
            info.query.name(),
            info.query.original().name(),
            info.query.query_type(),
        )
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let mut reply = self.0.reply(request);
        let mut meta = Metadata::response_from_request(&request.metadata);
        // EDNS is answered in kind only (RFC 6891 §6.1.1); versions beyond 0 get BADVERS (§6.1.3).
        let edns = request.edns.as_ref().map(|theirs| {
            let mut ours = Edns::new();
            ours.set_max_payload(theirs.max_payload().clamp(512, UDP_PAYLOAD));
            if theirs.version() > 0 {
                reply = Reply {
                    code: ResponseCode::BADVERS,
                    authoritative: false,
                    answers: vec![],
                    soa: None,
                };
                ours.set_rcode_high(reply.code.high());
            }
            ours
        });
        meta.authoritative = reply.authoritative;
        meta.response_code = reply.code;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        match out
            .send_response(builder.build(meta, &reply.answers, [], &reply.soa, []))
            .await
        {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "answer not sent");
                let header = hickory_proto::op::Header {
                    metadata: meta,
                    counts: Default::default(),
                };
                header.into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
