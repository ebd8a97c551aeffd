//! A small stand-in for the invocation service, written from the contract: publishes work items, decides claims, hands
//! out bodies by GET attach, takes answers by POST attach. It can also behave as NVIDIA's: no claims, HTTP/1.1 only.

mod desk;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use bytes::{Bytes, BytesMut};
use frontdoor_protocol::attach::{self, Form, ResponseHead};
use frontdoor_protocol::envelope::{
    CLAIM_HEADER, ConnectionConfig, DEADLINE_HEADER, Http1ProtocolConfig, INLINE_BODY_LIMIT,
    StatelessConfig, StringKv, WorkerInvokeFunctionRequest,
};
use frontdoor_protocol::names::{RegionName, RequestId, VersionId};
use frontdoor_protocol::subject;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use desk::{Desk, Pending};

/// What a caller asks for.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// Without a length the whole body comes by GET attach.
    pub(crate) chunked: bool,
    /// The claim will be answered 410.
    pub(crate) refuse: bool,
    pub(crate) deadline_ms: Option<u64>,
    /// Nothing but ids and tokens is in the work item; all of the request comes by GET attach.
    pub(crate) whole: bool,
}

/// A call that was published.
pub(crate) struct Call {
    pub(crate) id: RequestId,
    head: oneshot::Receiver<ResponseHead>,
    /// The head, once it has arrived.
    arrived: Option<ResponseHead>,
    frames: mpsc::Receiver<Result<Bytes, io::Error>>,
    leave: Option<oneshot::Sender<()>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Invocation {
    claims: bool,
    target: String,
    desk: Arc<Desk>,
    client: async_nats::Client,
    region: RegionName,
    version: VersionId,
    _serving: JoinSet<()>,
}

impl Invocation {
    pub(crate) async fn start(
        claims: bool,
        nats: &str,
        region: RegionName,
        version: VersionId,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk::default());
        let mut serving = JoinSet::new();
        serving.spawn(desk::serve(listener, Arc::clone(&desk), claims));
        let invocation = Self {
            claims,
            target,
            desk,
            client: async_nats::connect(nats).await.unwrap(),
            region,
            version,
            _serving: serving,
        };
        invocation.create_stream().await;
        invocation
    }

    pub(crate) async fn create_stream(&self) {
        let config = stream::Config {
            name: subject::work_stream(&self.region, self.version),
            subjects: vec![subject::work_of_version(&self.region, self.version)],
            storage: stream::StorageType::Memory,
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let name = subject::work_consumer(&self.region, self.version);
        let consumer = consumer::pull::Config {
            durable_name: Some(name),
            ..consumer::pull::Config::default()
        };
        // After a restart of the server the client needs a moment to be back.
        eventually("the stream can be made", async || {
            let context = jetstream::new(self.client.clone());
            let Ok(stream) = context.get_or_create_stream(config.clone()).await else {
                return false;
            };
            stream.create_consumer(consumer.clone()).await.is_ok()
        })
        .await;
    }

    /// How many messages are neither acked nor given up.
    pub(crate) async fn queued(&self) -> u64 {
        let context = jetstream::new(self.client.clone());
        let name = subject::work_stream(&self.region, self.version);
        context
            .get_stream(name)
            .await
            .unwrap()
            .cached_info()
            .state
            .messages
    }

    /// How many messages another worker gets within three seconds.
    pub(crate) async fn available(&self) -> usize {
        let context = jetstream::new(self.client.clone());
        let stream = subject::work_stream(&self.region, self.version);
        let stream = context.get_stream(stream).await.unwrap();
        let name = subject::work_consumer(&self.region, self.version);
        let consumer: consumer::PullConsumer = stream.get_consumer(&name).await.unwrap();
        let batch = consumer.batch().max_messages(1000);
        let messages = batch.expires(Duration::from_secs(3)).messages();
        messages.await.unwrap().count().await
    }

    pub(crate) async fn all_settled(&self) {
        eventually("all messages are settled", async || {
            self.queued().await == 0
        })
        .await;
    }

    /// The most claims that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.desk.most_open.load(Ordering::SeqCst)
    }

    pub(crate) async fn cancel(&self, id: RequestId) {
        let subject = subject::cancel(self.version);
        let payload = id.to_string().into();
        self.client.publish(subject, payload).await.unwrap();
        self.client.flush().await.unwrap();
    }

    pub(crate) async fn publish_raw(&self, payload: &'static [u8]) {
        let id = RequestId::from_uuid(uuid::Uuid::new_v4());
        let subject = subject::work(&self.region, self.version, id);
        self.publish(subject, async_nats::HeaderMap::new(), payload.into())
            .await;
    }

    async fn publish(&self, subject: String, headers: async_nats::HeaderMap, payload: Bytes) {
        let context = jetstream::new(self.client.clone());
        let ack = context
            .publish_with_headers(subject, headers, payload)
            .await;
        ack.unwrap().await.unwrap();
    }

    /// Opens a place for an answer: its token, and where it will come.
    fn seat(&self, id: RequestId, refuse: bool) -> (String, Call) {
        let (head_out, head) = oneshot::channel();
        let (frames_out, frames) = mpsc::channel(4);
        let (leave, left) = oneshot::channel();
        let token = uuid::Uuid::new_v4().to_string();
        let pending = Pending {
            refuse,
            head: head_out,
            frames: frames_out,
            left,
        };
        let mut answers = self.desk.answers.lock().unwrap();
        answers.insert(token.clone(), pending);
        let call = Call {
            id,
            head,
            arrived: None,
            frames,
            leave: Some(leave),
        };
        (token, call)
    }

    /// Asks the worker of a call that was told 202 for the answer, as NVIDIA's service does; whether it said that it heard.
    pub(crate) async fn poll(&self, id: RequestId, window: u64) -> (bool, Call) {
        let (token, call) = self.seat(id, false);
        let item = WorkerInvokeFunctionRequest {
            request_id: id.to_string(),
            request_method: "GET".into(),
            request_headers: vec![StringKv {
                key: "nvcf-poll-seconds".into(),
                value: window.to_string(),
            }],
            stateless_config: Some(self.way(token, None)),
            ..WorkerInvokeFunctionRequest::default()
        };
        let subject = subject::polling(id);
        let asked = self.client.request(subject, item.encode_to_vec().into());
        let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
        let heard = matches!(asked, Ok(Ok(reply)) if reply.payload.is_empty());
        (heard, call)
    }

    fn way(&self, answer: String, body: Option<String>) -> StatelessConfig {
        StatelessConfig {
            connection_configs: vec![ConnectionConfig {
                http1_config: Some(Http1ProtocolConfig {
                    proxy_uri: None,
                    target_uri: self.target.clone(),
                    response_authorization_token: answer,
                    request_authorization_token: body,
                }),
            }],
        }
    }

    pub(crate) async fn call(&self, ask: Ask) -> Call {
        let id = RequestId::from_uuid(uuid::Uuid::new_v4());
        let (answer_token, call) = self.seat(id, ask.refuse);
        let body_token = uuid::Uuid::new_v4().to_string();
        let inline = if ask.chunked || ask.whole {
            0
        } else {
            ask.body.len().min(INLINE_BODY_LIMIT)
        };
        let more = ask.chunked || ask.whole || inline < ask.body.len();
        let mut pairs = ask.headers.clone();
        if !ask.chunked && ask.method != "GET" {
            pairs.push(("content-length", ask.body.len().to_string()));
        }
        let (form, rest) = if ask.whole {
            let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
            let head = attach::request::encode(ask.method, &ask.path, pairs);
            (Form::Whole, [&head[..], &ask.body].concat().into())
        } else {
            (Form::Body, ask.body.slice(inline..))
        };
        if more {
            let mut bodies = self.desk.bodies.lock().unwrap();
            bodies.insert(body_token.clone(), (form, rest));
        }
        let headers = pairs.into_iter().map(|(key, value)| StringKv {
            key: key.into(),
            value,
        });
        let said = |text: String| if ask.whole { String::new() } else { text };
        let item = WorkerInvokeFunctionRequest {
            request_id: id.to_string(),
            nca_id: "account".into(),
            subject: "tester".into(),
            request_body: Some(ask.body[..inline].to_vec()),
            request_headers: headers.filter(|_| !ask.whole).collect(),
            request_method: said(ask.method.into()),
            request_path: said(ask.path),
            stateless_config: Some(self.way(answer_token, more.then_some(body_token))),
            ..WorkerInvokeFunctionRequest::default()
        };
        let mut headers = async_nats::HeaderMap::new();
        if self.claims {
            headers.insert(CLAIM_HEADER, "1");
        }
        if let Some(deadline) = ask.deadline_ms {
            headers.insert(DEADLINE_HEADER, deadline.to_string());
        }
        let subject = subject::work(&self.region, self.version, id);
        self.publish(subject, headers, item.encode_to_vec().into())
            .await;
        call
    }
}

impl Call {
    pub(crate) async fn head(&mut self) -> ResponseHead {
        if let Some(head) = &self.arrived {
            return head.clone();
        }
        let head = tokio::time::timeout(Duration::from_secs(20), &mut self.head).await;
        let head = head.expect("an answer in time").expect("an answer");
        self.arrived.insert(head).clone()
    }

    /// The next bytes of the body; an error is a broken end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.frames.recv()).await;
        next.expect("more in time")
    }

    pub(crate) async fn answer(mut self) -> Answer {
        let head = self.head().await;
        let mut body = BytesMut::new();
        while let Some(bytes) = self.next().await {
            body.extend_from_slice(&bytes.expect("a clean end"));
        }
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.freeze(),
        }
    }

    /// The caller goes away.
    pub(crate) fn leave(&mut self) {
        self.leave.take();
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(15);
    while !holds().await {
        assert!(tokio::time::Instant::now() < patience, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
