//! What workers and invocation services of one region tell each other about themselves, on the region's own NATS.
//!
//! Ours alone, optional, soft state: each message is the whole truth about its sender, the last one wins, and silence
//! for [`EXPIRES`] means gone. Nothing on a call's path waits for one, and nothing is concluded from the lack of one:
//! NVIDIA's parts never speak so. Core NATS, never JetStream; the subjects stay inside the region.

use std::time::Duration;

use prost::Message as _;
use uuid::Uuid;

use crate::names::VersionId;

/// How often a worker speaks when nothing changes.
pub const WORKER_EVERY: Duration = Duration::from_millis(500);
/// How often an invocation service speaks when nothing changes.
pub const SERVICE_EVERY: Duration = Duration::from_millis(500);
/// Who was not heard for so long is gone.
pub const EXPIRES: Duration = Duration::from_secs(2);
/// A message above this many bytes is not read.
pub const SIZE_LIMIT: usize = 1024;
/// No worker has more slots than this.
pub const SLOTS_LIMIT: u32 = 10_000;

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes calls.
    Ready,
    /// It takes none for now: its container is not well.
    Resting,
    /// It takes none any more; what it has it finishes. Its last word.
    Leaving,
}

/// What a worker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPresence {
    /// Which worker: drawn at its start.
    pub worker: Uuid,
    /// The version it runs.
    pub version: VersionId,
    /// Whether it takes calls.
    pub standing: Standing,
    /// Calls it may have at once.
    pub slots: u32,
    /// Calls it could take now.
    pub free: u32,
    /// How long a call takes it in the mean, lately; zero while it had none.
    pub service: Duration,
}

/// What an invocation service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePresence {
    /// Which instance: drawn at its start.
    pub service: Uuid,
    /// Base URL at which workers reach this very instance.
    pub attach_url: String,
    /// Opens its attach path to standing streams; who may read the region's NATS may have it.
    pub ticket: String,
    /// Whether it takes calls, and so has use for standing streams.
    pub taking: bool,
}

/// Why a message says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// Above [`SIZE_LIMIT`].
    #[error("larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// No such message.
    #[error("malformed")]
    Malformed,
    /// A number or name out of bounds.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WorkerWire {
    #[prost(bytes = "vec", tag = "1")]
    worker: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    version: Vec<u8>,
    #[prost(uint32, tag = "3")]
    standing: u32,
    #[prost(uint32, tag = "4")]
    slots: u32,
    #[prost(uint32, tag = "5")]
    free: u32,
    #[prost(uint64, tag = "6")]
    service_us: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceWire {
    #[prost(bytes = "vec", tag = "1")]
    service: Vec<u8>,
    #[prost(string, tag = "2")]
    attach_url: String,
    #[prost(string, tag = "3")]
    ticket: String,
    #[prost(bool, tag = "4")]
    taking: bool,
}

// === impl WorkerPresence ===

impl WorkerPresence {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        WorkerWire {
            worker: self.worker.as_bytes().to_vec(),
            version: self.version.as_uuid().as_bytes().to_vec(),
            standing: match self.standing {
                Standing::Ready => 1,
                Standing::Resting => 2,
                Standing::Leaving => 3,
            },
            slots: self.slots,
            free: self.free,
            service_us: u64::try_from(self.service.as_micros()).unwrap_or(u64::MAX),
        }
        .encode_to_vec()
    }

    /// Reads a message from the network.
    ///
    /// # Errors
    /// If it is none that a worker of ours would send.
    pub fn decode(bytes: &[u8]) -> Result<Self, PresenceError> {
        let wire: WorkerWire = read(bytes)?;
        if !(1..=SLOTS_LIMIT).contains(&wire.slots) {
            return Err(PresenceError::Invalid("slots"));
        }
        if wire.free > wire.slots {
            return Err(PresenceError::Invalid("free"));
        }
        Ok(Self {
            worker: id(&wire.worker).ok_or(PresenceError::Invalid("worker"))?,
            version: VersionId::from_uuid(
                id(&wire.version).ok_or(PresenceError::Invalid("version"))?,
            ),
            standing: match wire.standing {
                1 => Standing::Ready,
                3 => Standing::Leaving,
                // What a later worker may say that we do not know is no promise to take calls.
                _ => Standing::Resting,
            },
            slots: wire.slots,
            free: wire.free,
            service: Duration::from_micros(wire.service_us),
        })
    }
}

// === impl ServicePresence ===

impl ServicePresence {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        ServiceWire {
            service: self.service.as_bytes().to_vec(),
            attach_url: self.attach_url.clone(),
            ticket: self.ticket.clone(),
            taking: self.taking,
        }
        .encode_to_vec()
    }

    /// Reads a message from the network.
    ///
    /// # Errors
    /// If it is none that an invocation service of ours would send.
    pub fn decode(bytes: &[u8]) -> Result<Self, PresenceError> {
        let wire: ServiceWire = read(bytes)?;
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(&wire.attach_url) {
            return Err(PresenceError::Invalid("attach_url"));
        }
        if !visible(&wire.ticket) {
            return Err(PresenceError::Invalid("ticket"));
        }
        Ok(Self {
            service: id(&wire.service).ok_or(PresenceError::Invalid("service"))?,
            attach_url: wire.attach_url,
            ticket: wire.ticket,
            taking: wire.taking,
        })
    }
}

fn read<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, PresenceError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(PresenceError::TooLarge);
    }
    M::decode(bytes).map_err(|_| PresenceError::Malformed)
}

fn id(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok().filter(|id| !id.is_nil())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

    fn worker() -> WorkerPresence {
        WorkerPresence {
            worker: ID.parse().expect("valid"),
            version: ID.parse().expect("valid"),
            standing: Standing::Ready,
            slots: 64,
            free: 3,
            service: Duration::from_micros(1_500),
        }
    }

    fn service() -> ServicePresence {
        ServicePresence {
            service: ID.parse().expect("valid"),
            attach_url: "http://10.0.0.1:8080".into(),
            ticket: "secret".into(),
            taking: true,
        }
    }

    #[test]
    fn what_is_said_is_heard() {
        for standing in [Standing::Ready, Standing::Resting, Standing::Leaving] {
            let said = WorkerPresence {
                standing,
                ..worker()
            };
            assert_eq!(WorkerPresence::decode(&said.encode()), Ok(said));
        }
        assert_eq!(ServicePresence::decode(&service().encode()), Ok(service()));
    }

    #[test]
    fn what_nobody_of_ours_would_say_is_refused() {
        let invalid = PresenceError::Invalid;
        for (said, error) in [
            (
                WorkerPresence {
                    slots: 0,
                    free: 0,
                    ..worker()
                },
                invalid("slots"),
            ),
            (
                WorkerPresence {
                    slots: SLOTS_LIMIT + 1,
                    ..worker()
                },
                invalid("slots"),
            ),
            (
                WorkerPresence {
                    free: 65,
                    ..worker()
                },
                invalid("free"),
            ),
            (
                WorkerPresence {
                    worker: Uuid::nil(),
                    ..worker()
                },
                invalid("worker"),
            ),
        ] {
            assert_eq!(WorkerPresence::decode(&said.encode()), Err(error));
        }
        let spaced = ServicePresence {
            ticket: "a\r\nb".into(),
            ..service()
        };
        assert_eq!(
            ServicePresence::decode(&spaced.encode()),
            Err(invalid("ticket"))
        );
        for bytes in [&b"\xff\xff"[..], &[0x0a, 200]] {
            assert_eq!(WorkerPresence::decode(bytes), Err(PresenceError::Malformed));
        }
        assert_eq!(WorkerPresence::decode(b""), Err(invalid("slots")));
        let long = vec![0; SIZE_LIMIT + 1];
        assert_eq!(WorkerPresence::decode(&long), Err(PresenceError::TooLarge));
    }
}
