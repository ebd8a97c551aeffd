//! The other instances of this region's invocation service: which there are, which of them holds an answer, and the way to it.
//!
//! They are known by what they say of themselves to the region's workers twice a second. A call that was put aside is held by the
//! instance that took it, and a poll may reach any: the one that got it asks all others at once over NATS and passes the poll
//! on. Callers' credentials stay here; what opens the other instance is the ticket that it told its region.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdoor_protocol::locate::Told;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::presence::{EXPIRES, SERVICE_EVERY, ServicePresence};
use frontdoor_protocol::subject;
use frontdoor_protocol::target::Target;
use futures_util::StreamExt as _;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatch::Dispatch;
use crate::tasks::Tasks;

/// More instances of one region are not listened to.
const MOST: usize = 64;
/// All are silent for so long: it is not they who are gone.
const SILENCE: Duration = SERVICE_EVERY.saturating_mul(2);
/// Who is there answers within a round trip on the region's NATS; a poll waits no longer for one that is not.
const LOCATE: Duration = Duration::from_millis(500);
/// The longest wait for a connection to another instance.
const CONNECT: Duration = Duration::from_secs(1);
/// A silent connection on which a poll waits is asked for a sign of life this often, and given up after as long again.
const PING: Duration = Duration::from_secs(1);
/// Connections that stay open for the next poll.
const IDLE: Duration = Duration::from_secs(60);
/// Pause before subscribing again, should that ever fail.
const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

/// All that are known.
pub(crate) struct Siblings {
    own: Uuid,
    heard: Mutex<Heard>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

#[derive(Default)]
struct Heard {
    known: HashMap<Uuid, (Instant, Sibling)>,
    /// The last word of anybody, this instance included.
    last: Option<Instant>,
}

/// Another instance.
#[derive(Clone)]
pub(crate) struct Sibling {
    authority: Authority,
    /// What it takes polls of others for.
    pub(crate) ticket: HeaderValue,
}

/// Where an answer is held.
pub(crate) enum Located {
    /// There, and whose it is.
    At(Sibling, Target),
    /// Nowhere: there is no other instance.
    Alone,
    /// By no other instance.
    Nowhere,
    /// One of them does not say.
    Unsure,
}

// === impl Heard ===

impl Heard {
    fn take(&mut self, service: Uuid, sibling: Option<Sibling>, now: Instant) {
        // Who speaks twice a second, this instance too, is silent for so long only if NATS was away. Nobody is gone by that, and
        // all have their time again: a poll that nobody answers for yet is one to be tried again, not one for an unknown call.
        let last = self.last.replace(now).unwrap_or(now);
        if now.saturating_duration_since(last) >= SILENCE {
            for (at, _) in self.known.values_mut() {
                *at = now;
            }
        }
        self.known
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < EXPIRES);
        if let Some(sibling) = sibling
            && (self.known.len() < MOST || self.known.contains_key(&service))
        {
            self.known.insert(service, (now, sibling));
        }
    }

    fn others(&self) -> HashMap<Uuid, Sibling> {
        let known = self.known.iter();
        known
            .map(|(id, (_, sibling))| (*id, sibling.clone()))
            .collect()
    }
}

// === impl Siblings ===

impl Siblings {
    /// Nobody is known yet. `own` is this instance.
    pub(crate) fn new(own: Uuid, tasks: Tasks) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(tasks)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_only(true)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector);
        Arc::new(Self {
            own,
            heard: Mutex::default(),
            client,
        })
    }

    /// Hears the others until `stop`. The client keeps the subscription over reconnects.
    pub(crate) async fn listen(self: Arc<Self>, dispatch: Arc<Dispatch>, stop: CancellationToken) {
        let listen = async {
            let everybody = subject::service_presence(&dispatch.region);
            loop {
                if let Ok(mut said) = dispatch.link.hear(everybody.clone()).await {
                    while let Some(message) = said.next().await {
                        if let Some((service, sibling)) = read(&message.payload) {
                            let sibling = (service != self.own).then_some(sibling);
                            self.heard().take(service, sibling, Instant::now());
                        }
                    }
                }
                tokio::time::sleep(SUBSCRIBE_PAUSE).await;
            }
        };
        stop.run_until_cancelled(listen).await;
    }

    /// How many there are, as far as is known.
    pub(crate) fn count(&self) -> usize {
        self.heard().known.len()
    }

    /// Finds out who holds the answer of an earlier call. Asks nobody if there is nobody else.
    pub(crate) async fn locate(&self, dispatch: &Dispatch, id: RequestId) -> Located {
        let others = self.heard().others();
        if others.is_empty() {
            return Located::Alone;
        }
        let found = tokio::time::timeout(LOCATE, ask(dispatch, id, others)).await;
        found.unwrap_or(Located::Unsure)
    }

    /// Sends a request to another instance; its answer's head is here when this returns.
    pub(crate) async fn send(
        &self,
        to: &Sibling,
        mut request: Request<Empty<Bytes>>,
    ) -> Option<Response<Incoming>> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(to.authority.clone());
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        self.client.request(request).await.ok()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Nothing panics while it holds the lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all until one has it or all have not.
async fn ask(dispatch: &Dispatch, id: RequestId, mut others: HashMap<Uuid, Sibling>) -> Located {
    let client = dispatch.link.client();
    let inbox = client.new_inbox();
    let Ok(mut told) = client.subscribe(inbox.clone()).await else {
        return Located::Unsure;
    };
    let question = subject::locate(&dispatch.region);
    let asked = client.publish_with_reply(question, inbox, id.to_string().into());
    if asked.await.is_err() {
        return Located::Unsure;
    }
    while let Some(message) = told.next().await {
        let Some(told) = Told::decode(&message.payload) else {
            continue;
        };
        let sibling = others.remove(&told.service);
        match (sibling, told.held) {
            (Some(sibling), Some(target)) => return Located::At(sibling, target),
            _ if others.is_empty() => return Located::Nowhere,
            _ => {}
        }
    }
    Located::Unsure
}

fn read(payload: &[u8]) -> Option<(Uuid, Sibling)> {
    let said = ServicePresence::decode(payload).ok()?;
    let uri: Uri = said.attach_url.parse().ok()?;
    let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/";
    let mut ticket = HeaderValue::try_from(said.ticket).ok()?;
    ticket.set_sensitive(true);
    let sibling = Sibling {
        authority: uri.authority().filter(|_| plain)?.clone(),
        ticket,
    };
    Some((said.service, sibling))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling() -> Sibling {
        Sibling {
            authority: Authority::from_static("10.0.0.1:8080"),
            ticket: HeaderValue::from_static("secret"),
        }
    }

    #[test]
    fn who_is_silent_while_others_speak_is_gone() {
        let (own, one, two) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut heard = Heard::default();
        let start = Instant::now();
        heard.take(one, Some(sibling()), start);
        heard.take(two, Some(sibling()), start);
        assert_eq!(heard.others().len(), 2);
        for tick in 1..=4 {
            let now = start + SERVICE_EVERY * tick;
            heard.take(own, None, now);
            heard.take(one, Some(sibling()), now);
        }
        let others = heard.others();
        assert!(others.contains_key(&one) && others.len() == 1);
    }

    #[test]
    fn nobody_is_gone_by_a_silence_of_all() {
        let (own, one, two) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        // NATS is away for much longer than an instance may be silent, and for not quite as long.
        for away in [EXPIRES * 10, EXPIRES, EXPIRES - Duration::from_millis(1)] {
            let mut heard = Heard::default();
            let start = Instant::now();
            heard.take(two, Some(sibling()), start);
            heard.take(one, Some(sibling()), start + SERVICE_EVERY / 2);
            let back = start + SERVICE_EVERY / 2 + away;
            heard.take(own, None, back);
            assert_eq!(heard.others().len(), 2, "{away:?}");
            // Who does not come back with it is gone, as ever.
            for tick in 1..=4 {
                let now = back + SERVICE_EVERY * tick;
                heard.take(own, None, now);
                heard.take(one, Some(sibling()), now);
            }
            let others = heard.others();
            assert!(others.contains_key(&one) && others.len() == 1, "{away:?}");
        }
    }

    #[test]
    fn no_more_than_so_many_are_known() {
        let mut heard = Heard::default();
        let now = Instant::now();
        for n in 0..100 {
            heard.take(Uuid::from_u128(n), Some(sibling()), now);
        }
        assert_eq!(heard.others().len(), MOST);
    }

    #[test]
    fn only_plain_addresses_are_passed_on_to() {
        for (url, good) in [
            ("http://10.0.0.1:8080", true),
            ("https://10.0.0.1:8080", false),
            ("http://10.0.0.1:8080/path", false),
            ("10.0.0.1:8080", false),
        ] {
            let said = ServicePresence {
                service: Uuid::from_u128(1),
                attach_url: url.into(),
                ticket: "secret".into(),
                taking: true,
            };
            assert_eq!(read(&said.encode()).is_some(), good, "{url}");
        }
    }
}
