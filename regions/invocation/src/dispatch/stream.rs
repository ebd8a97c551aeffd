//! The work queue of a version: a JetStream stream and the durable consumer its workers share.
//!
//! Made when missing, exactly as NVCF makes them; what exists is compared in the points that calls rely on, and refused
//! when it differs. Never updates what exists: another part may have made it so on purpose.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, ConsumerCreateStrictErrorKind, ConsumerLimits, DiscardPolicy, RetentionPolicy,
    StorageType,
};
use frontdoor_protocol::envelope::MESSAGE_LIMIT;
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::subject;

use super::catalog::Version;
use super::link::{API, Link};

/// Messages a stream holds, unacknowledged deliveries and waiting pulls: NVCF's one number for all three.
const CAPACITY: i64 = 100_000;
/// How long a request id is remembered to recognise a second publish of it.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(5);
/// A worker that says nothing for so long has lost its message to the next one.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Why a work queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It exists and is not what calls rely on.
    #[error("{name} exists with another {field} ({found}); delete it, or let its owner correct it")]
    Differs {
        /// The stream or consumer.
        name: String,
        /// What differs.
        field: &'static str,
        /// What it is instead.
        found: String,
    },
    /// NATS refused or did not answer.
    #[error("{name} cannot be made: {reason}")]
    Refused {
        /// The stream or consumer.
        name: String,
        /// NATS's words.
        reason: String,
    },
}

/// Makes sure that a version's stream and consumer exist. Many callers at once do it once.
pub(super) async fn ensure(
    link: &Link,
    region: &RegionName,
    version: &Version,
) -> Result<(), StreamError> {
    let before = version.created.load(Ordering::Acquire);
    let turn = tokio::time::timeout(API, version.creating.lock()).await;
    let Ok(_turn) = turn else {
        return Err(refused(&version.stream, "others are still trying"));
    };
    if version.created.load(Ordering::Acquire) != before {
        return Ok(());
    }
    ensure_stream(link, region, version).await?;
    ensure_consumer(link, version).await?;
    version.created.fetch_add(1, Ordering::Release);
    Ok(())
}

async fn ensure_stream(
    link: &Link,
    region: &RegionName,
    version: &Version,
) -> Result<(), StreamError> {
    let wanted = stream_config(region, version);
    match link.jetstream.create_stream(wanted.clone()).await {
        Ok(made) => {
            version.watched.made(made.cached_info());
            version.set_takes_ttl(made.cached_info().config.allow_message_ttl);
            Ok(())
        }
        Err(error) if exists(&error) => {
            let found = link
                .jetstream
                .get_stream(&version.stream)
                .await
                .map_err(|e| refused(&version.stream, &e.to_string()))?;
            version.watched.made(found.cached_info());
            let found = &found.cached_info().config;
            version.set_takes_ttl(found.allow_message_ttl);
            compare(&wanted, found)
        }
        Err(error) => Err(refused(&version.stream, &error.to_string())),
    }
}

async fn ensure_consumer(link: &Link, version: &Version) -> Result<(), StreamError> {
    let made = link
        .jetstream
        .create_consumer_strict_on_stream(consumer_config(version), &version.stream)
        .await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ConsumerCreateStrictErrorKind::AlreadyExists => {
            let found: async_nats::jetstream::consumer::Consumer<pull::Config> = link
                .jetstream
                .get_consumer_from_stream(&version.consumer, &version.stream)
                .await
                .map_err(|e| refused(&version.consumer, &e.to_string()))?;
            let config = &found.cached_info().config;
            if config.ack_policy != AckPolicy::Explicit {
                return Err(differs(&version.consumer, "ack_policy", &config.ack_policy));
            }
            if config.max_waiting < CAPACITY {
                tracing::warn!(
                    consumer = %version.consumer,
                    max_waiting = config.max_waiting,
                    "workers with more outstanding pulls than this will be refused"
                );
            }
            Ok(())
        }
        Err(error) => Err(refused(&version.consumer, &error.to_string())),
    }
}

fn exists(error: &CreateStreamError) -> bool {
    matches!(
        error.kind(),
        CreateStreamErrorKind::JetStream(ref e) if e.error_code() == ErrorCode::STREAM_NAME_EXIST
    )
}

fn stream_config(region: &RegionName, version: &Version) -> Config {
    Config {
        name: version.stream.clone(),
        subjects: vec![subject::work_of_version(region, version.id)],
        storage: StorageType::Memory,
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages: CAPACITY,
        max_messages_per_subject: 1,
        max_message_size: i32::try_from(MESSAGE_LIMIT).unwrap_or(i32::MAX),
        num_replicas: 1,
        allow_direct: true,
        allow_message_ttl: true,
        duplicate_window: DUPLICATE_WINDOW,
        consumer_limits: Some(ConsumerLimits {
            max_ack_pending: CAPACITY,
            ..ConsumerLimits::default()
        }),
        ..Config::default()
    }
}

fn consumer_config(version: &Version) -> pull::Config {
    pull::Config {
        durable_name: Some(version.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: CAPACITY,
        max_waiting: CAPACITY,
        ..pull::Config::default()
    }
}

/// Whether an existing stream does what calls rely on. Storage, replicas, placement, byte limits and message TTLs are
/// the operator's choice; without TTLs, as in NVIDIA's streams, leftovers are refused at the claim.
fn compare(wanted: &Config, found: &Config) -> Result<(), StreamError> {
    let name = &wanted.name;
    if found.subjects != wanted.subjects {
        return Err(differs(name, "subjects", &found.subjects));
    }
    if found.retention != wanted.retention {
        return Err(differs(name, "retention", &found.retention));
    }
    if found.discard != wanted.discard {
        return Err(differs(name, "discard", &found.discard));
    }
    if found.max_messages_per_subject != 1 || !found.discard_new_per_subject {
        return Err(differs(
            name,
            "max_msgs_per_subject",
            &found.max_messages_per_subject,
        ));
    }
    if found.no_ack {
        return Err(differs(name, "no_ack", &found.no_ack));
    }
    Ok(())
}

fn differs(name: &str, field: &'static str, found: &impl std::fmt::Debug) -> StreamError {
    StreamError::Differs {
        name: name.to_owned(),
        field,
        found: format!("{found:?}"),
    }
}

fn refused(name: &str, reason: &str) -> StreamError {
    StreamError::Refused {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Config {
        Config {
            name: "rq_x_y".into(),
            subjects: vec!["rq.x.y.>".into()],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: 1,
            ..Config::default()
        }
    }

    #[test]
    fn what_calls_rely_on_must_not_differ() {
        assert!(compare(&wanted(), &wanted()).is_ok());
        let chosen = Config {
            num_replicas: 3,
            max_bytes: 1 << 30,
            storage: StorageType::File,
            allow_message_ttl: true,
            ..wanted()
        };
        assert!(compare(&wanted(), &chosen).is_ok(), "the operator's choice");
        type Change = fn(&mut Config);
        let wrong: [(&str, Change); 5] = [
            ("subjects", |c| c.subjects = vec!["rq.>".into()]),
            ("retention", |c| c.retention = RetentionPolicy::Limits),
            ("discard", |c| c.discard = DiscardPolicy::Old),
            ("max_msgs_per_subject", |c| c.max_messages_per_subject = -1),
            ("no_ack", |c| c.no_ack = true),
        ];
        for (field, change) in wrong {
            let mut found = wanted();
            change(&mut found);
            let error = compare(&wanted(), &found).expect_err(field).to_string();
            assert!(error.contains(field) && error.contains("rq_x_y"), "{error}");
        }
    }
}
