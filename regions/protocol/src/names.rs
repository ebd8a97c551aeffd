//! Checked newtypes for everything that has a name: regions, functions, versions, requests.
//!
//! A value of these types is valid by construction, so no other file checks them again. Region names go raw into NATS
//! subjects and stream names, hence their narrow alphabet (NVCF's contract: a dot would split the subject, an
//! underscore breaks NVCF's stream clean-up).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A region name outside of the allowed alphabet or length.
    #[error(
        "`{0}` is not a region name: use 1 to 32 of a-z, 0-9 and `-`, starting and ending with a letter or digit"
    )]
    Region(String),
    /// Not a UUID in its hyphenated form.
    #[error(
        "`{0}` is not an id: use the 36-character form of a UUID, like 0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
    )]
    Id(String),
}

/// The name of a region, such as `us-east`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(String);

/// Which function is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionId(Uuid);

/// One deployed version of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId(Uuid);

/// The id of one call, `nvcf-reqid` on the wire.
///
/// Ids made by an edge are UUIDv8 (RFC 9562 §5.8): 48 bits of Unix milliseconds, then a 12-bit region tag in
/// `custom_b`, then 62 random bits. The tag lets any edge send a later question about the call to the region that
/// holds it, without shared state. Ids made by others are carried unchanged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Uuid);

/// The 12 bits by which a request id names its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegionTag(u16);

// === impl RegionName ===

impl RegionName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region's tag in request ids: FNV-1a of the name folded to 12 bits, so every edge computes the same one.
    ///
    /// Two names may share a tag; whoever configures a set of regions must refuse that.
    #[must_use]
    pub fn tag(&self) -> RegionTag {
        let hash = self.key();
        let folded = hash ^ (hash >> 12) ^ (hash >> 24) ^ (hash >> 36) ^ (hash >> 48);
        RegionTag(u16::try_from(folded & 0x0fff).unwrap_or_default())
    }

    /// A number of the name alone (FNV-1a), so the same wherever it is computed.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.0
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
    }
}

impl FromStr for RegionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = (1..=32).contains(&bytes.len())
            && bytes.iter().all(|&b| inner(b) || b == b'-')
            && bytes.first().is_some_and(|&b| inner(b))
            && bytes.last().is_some_and(|&b| inner(b));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Region(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RegionName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RegionName> for String {
    fn from(name: RegionName) -> Self {
        name.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl RequestId ===

impl RequestId {
    /// Makes an id from the wall clock (Unix milliseconds), a region's tag and 62 random bits (the two highest of
    /// `random` are not used).
    #[must_use]
    pub fn mint(unix_ms: u64, tag: RegionTag, random: u64) -> Self {
        let high = (unix_ms & 0xffff_ffff_ffff) << 16 | 0x8000 | u64::from(tag.0);
        let low = 0x8000_0000_0000_0000 | (random & 0x3fff_ffff_ffff_ffff);
        Self(Uuid::from_u64_pair(high, low))
    }

    /// Makes an id that no region owns yet.
    #[must_use]
    pub fn untagged(unix_ms: u64, random: u64) -> Self {
        Self::mint(unix_ms, RegionTag(0), random)
    }

    /// The same id owned by another region: what a call is called when it moves.
    #[must_use]
    pub fn with_tag(self, tag: RegionTag) -> Self {
        let (high, low) = self.0.as_u64_pair();
        Self(Uuid::from_u64_pair(high & !0x0fff | u64::from(tag.0), low))
    }

    /// The owning region's tag, if an edge made this id.
    #[must_use]
    pub fn tag(self) -> Option<RegionTag> {
        let (high, _) = self.0.as_u64_pair();
        (self.0.get_version_num() == 8)
            .then(|| RegionTag(u16::try_from(high & 0x0fff).unwrap_or_default()))
    }
}

/// Parses the hyphenated 36-character form only, upper or lower case, as NVCF does.
fn hyphenated(text: &str) -> Result<Uuid, NameError> {
    if text.len() == 36 && text.as_bytes()[8] == b'-' {
        Uuid::try_parse(text).map_err(|_| NameError::Id(text.to_owned()))
    } else {
        Err(NameError::Id(text.chars().take(64).collect()))
    }
}

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// The UUID itself.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// An id from a UUID made elsewhere.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                hyphenated(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(FunctionId);
id!(VersionId);
id!(RequestId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_names_are_narrow() {
        for good in ["us-east", "a", "eu-west-1", "0x"] {
            assert_eq!(good.parse::<RegionName>().expect(good).as_str(), good);
        }
        for bad in ["", "US", "a.b", "a_b", "-a", "a-", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<RegionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_take_the_hyphenated_form_only() {
        let id = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
        assert_eq!(id.parse::<FunctionId>().expect("valid").to_string(), id);
        assert_eq!(
            id.to_uppercase()
                .parse::<FunctionId>()
                .expect("valid")
                .to_string(),
            id
        );
        for bad in [
            "",
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a1g",
        ] {
            assert!(bad.parse::<FunctionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn request_ids_carry_their_region() {
        let east: RegionName = "us-east".parse().expect("valid");
        let west: RegionName = "eu-west".parse().expect("valid");
        assert_ne!(east.tag(), west.tag());
        let id = RequestId::mint(1_764_000_000_123, east.tag(), u64::MAX);
        assert_eq!(id.as_uuid().get_version_num(), 8);
        assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.tag(), Some(east.tag()));
        let moved = id.with_tag(west.tag());
        assert_eq!(moved.tag(), Some(west.tag()));
        assert_eq!(
            moved.with_tag(east.tag()),
            id,
            "moving back gives the same id"
        );
        assert_eq!(id.to_string().parse::<RequestId>().expect("round trip"), id);
    }

    #[test]
    fn foreign_request_ids_have_no_tag() {
        let v4: RequestId = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid");
        assert_eq!(v4.tag(), None);
    }
}
