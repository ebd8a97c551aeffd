//! Who holds the answer of an earlier call, as the invocation services of one region tell each other on the region's own
//! NATS: each that is asked says whether it does, and whose answer it is.
//!
//! Ours alone. The question is the request id as text. Where a service is and how to get in there it has said before
//! (`presence.rs`); callers' credentials are in none of this.

use prost::Message as _;
use uuid::Uuid;

use crate::names::{FunctionId, VersionId};
use crate::target::Target;

/// A message above this many bytes is not read.
const SIZE_LIMIT: usize = 256;

/// What a service says when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Which instance says so.
    pub service: Uuid,
    /// Of what the answer that it holds is, if it does: who asks must be allowed to call that.
    pub held: Option<Target>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    service: Vec<u8>,
    /// Empty: nothing is held under this id.
    #[prost(bytes = "vec", tag = "2")]
    function: Vec<u8>,
    /// Empty: any version.
    #[prost(bytes = "vec", tag = "3")]
    version: Vec<u8>,
}

// === impl Told ===

impl Told {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |id: &Uuid| id.as_bytes().to_vec();
        let version = self.held.and_then(|target| target.version);
        Wire {
            service: bytes(&self.service),
            function: self
                .held
                .map_or_else(Vec::new, |target| bytes(target.function.as_uuid())),
            version: version.map_or_else(Vec::new, |version| bytes(version.as_uuid())),
        }
        .encode_to_vec()
    }

    /// Reads a message from the network; `None` if it is none of ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > SIZE_LIMIT {
            return None;
        }
        let wire = Wire::decode(bytes).ok()?;
        let id = |bytes: &[u8]| Uuid::from_slice(bytes).ok().filter(|id| !id.is_nil());
        let some = |bytes: &[u8]| match bytes {
            [] => Some(None),
            bytes => id(bytes).map(Some),
        };
        let version = some(&wire.version)?.map(VersionId::from_uuid);
        let function = some(&wire.function)?.map(FunctionId::from_uuid);
        Some(Self {
            service: id(&wire.service)?,
            held: function.map(|function| Target { function, version }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let id = |n| Uuid::from_u128(n);
        let target = |version| Target {
            function: FunctionId::from_uuid(id(2)),
            version,
        };
        for held in [
            None,
            Some(target(None)),
            Some(target(Some(VersionId::from_uuid(id(3))))),
        ] {
            let told = Told {
                service: id(1),
                held,
            };
            assert_eq!(Told::decode(&told.encode()), Some(told));
        }
    }

    #[test]
    fn what_is_none_is_not_understood() {
        let long = vec![0; SIZE_LIMIT + 1];
        for bytes in [&b""[..], b"\xff", b"\x0a\x01x", &long] {
            assert_eq!(Told::decode(bytes), None);
        }
        let nobody = Told {
            service: Uuid::nil(),
            held: None,
        };
        assert_eq!(Told::decode(&nobody.encode()), None);
    }
}
