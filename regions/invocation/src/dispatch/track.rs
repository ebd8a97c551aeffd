//! Calls that a late worker, as NVIDIA's are, answered 202 to: whose they are, and how their worker is asked for the rest.
//!
//! Such a worker keeps the call, hears polls on a subject of its own and brings what it has then. Any instance may ask, since
//! whose the call is stands in the region's tracking stream, exactly as NVCF writes it: NVIDIA's service may ask as well.
//! Callers' windows and rights are `front/progress.rs`'s, its one user.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use bytes::Bytes;
use frontdoor_protocol::envelope::{Timestamp, WorkerResultTracking};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use frontdoor_protocol::target::Target;
use prost::Message as _;

use super::Dispatch;
use super::link::API;

/// As many calls as a region can have told 202 within the hour (NVCF's numbers, both).
const TRACKED: i64 = 100_000;
const KEPT: Duration = Duration::from_secs(3600);
/// How long a repeated publish is known for one.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(5);
/// How long a worker has to say that it was asked.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

// === impl Dispatch ===

impl Dispatch {
    /// Remembers whose a call is. If that fails its caller has a 202 that leads nowhere, which a later 404 says; what the
    /// worker told is no reason for an error now.
    pub(crate) async fn track(&self, id: RequestId, target: Target, now: Duration) {
        let Some(version) = target.version else {
            return;
        };
        let tracking = WorkerResultTracking {
            function_id: target.function.to_string(),
            function_version_id: version.to_string(),
            request_time: Some(timestamp(now)),
        };
        let payload = Bytes::from(tracking.encode_to_vec());
        let kept = tokio::time::timeout(API, self.keep_tracked(id, payload)).await;
        let kept = kept.unwrap_or_else(|_| Err("timed out".to_owned()));
        if let Err(reason) = kept {
            tracing::warn!(%id, reason, "a call in progress cannot be tracked");
        }
    }

    async fn keep_tracked(&self, id: RequestId, payload: Bytes) -> Result<(), String> {
        let jetstream = &self.link.jetstream;
        let put = async || {
            let name = subject::tracking(&self.region, id);
            jetstream.publish(name, payload.clone()).await?.await
        };
        match put().await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                let made = jetstream.create_stream(stream_config(self)).await;
                made.map_err(|error| error.to_string())?;
                put().await
            }
            other => other,
        }
        .map(drop)
        .map_err(|error| error.to_string())
    }

    /// Whose a call is that was told 202; `None` if it is not known here.
    pub(crate) async fn tracked(&self, id: RequestId) -> Option<Target> {
        let found = async {
            let stream = subject::tracking_stream(&self.region);
            let stream = self.link.jetstream.get_stream_no_info(stream).await.ok()?;
            let subject = subject::tracking(&self.region, id);
            stream.direct_get_last_for_subject(subject).await.ok()
        };
        let message = tokio::time::timeout(API, found).await.ok()??;
        read(&message.payload)
    }

    /// Forgets a call that is over.
    pub(crate) async fn untrack(&self, id: RequestId) {
        let forget = async {
            let stream = subject::tracking_stream(&self.region);
            let stream = self.link.jetstream.get_stream_no_info(stream).await.ok()?;
            let subject = subject::tracking(&self.region, id);
            stream.purge().filter(subject).await.ok()
        };
        // What stays is dropped within the hour, and a poll for it finds no worker.
        let _ = tokio::time::timeout(API, forget).await;
    }

    /// Asks the worker that has a call for what it has; says whether it was told.
    pub(crate) async fn ask_worker(&self, id: RequestId, question: Bytes) -> bool {
        let request = async_nats::Request::new()
            .payload(question)
            .timeout(Some(ACKNOWLEDGED));
        let asked = self.link.client.send_request(subject::polling(id), request);
        match asked.await {
            Ok(_) => true,
            Err(error) => {
                if error.kind() != RequestErrorKind::NoResponders {
                    tracing::debug!(%id, %error, "a worker does not say that it was asked");
                }
                false
            }
        }
    }
}

fn stream_config(dispatch: &Dispatch) -> Config {
    Config {
        name: subject::tracking_stream(&dispatch.region),
        subjects: vec![subject::tracking_of_region(&dispatch.region)],
        storage: StorageType::Memory,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages: TRACKED,
        max_messages_per_subject: 1,
        max_age: KEPT,
        num_replicas: 1,
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

fn timestamp(now: Duration) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(now.subsec_nanos()).unwrap_or(0),
    }
}

fn read(payload: &[u8]) -> Option<Target> {
    let tracking = WorkerResultTracking::decode(payload).ok()?;
    Some(Target {
        function: tracking.function_id.parse().ok()?,
        version: Some(tracking.function_version_id.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_both_is_a_call() {
        let id = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
        let check = |function: &str, version: &str| {
            let tracking = WorkerResultTracking {
                function_id: function.to_owned(),
                function_version_id: version.to_owned(),
                request_time: None,
            };
            read(&tracking.encode_to_vec())
        };
        let target = check(id, id).expect("both");
        assert_eq!(target.function.to_string(), id);
        assert!(target.version.is_some());
        for (function, version) in [("", id), (id, ""), ("x", id)] {
            assert_eq!(check(function, version), None);
        }
        assert_eq!(read(b"\xff"), None);
    }
}
