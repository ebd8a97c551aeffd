//! What the zone holds and what it answers: one name per region, A records only. No I/O.
//!
//! Authoritative for its zone and nothing else: other names are REFUSED (RFC 1035 §4.1.1), a missing name is NXDOMAIN,
//! a missing type is NODATA, both with the SOA that says how long to believe it (RFC 2308 §3).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use frontdoor_protocol::names::RegionName;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};

/// What one region's name answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::local) enum Answer {
    /// These addresses; none at all is NODATA.
    Addresses(Vec<Ipv4Addr>),
    /// A failure on purpose.
    Fault(Fault),
}

/// Failures a drill may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::local) enum Fault {
    /// The server says it failed.
    Servfail,
    /// The name does not exist.
    Nxdomain,
}

/// All names and their answers.
pub(in crate::local) type Records = BTreeMap<RegionName, Answer>;

/// The zone: its apex, how long answers live, and the records.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    apex: Name,
    ttl: u32,
    /// What the names answer.
    pub(super) records: Records,
}

/// An answer in parts, ready to be put into a message.
#[derive(Debug)]
pub(super) struct Reply {
    /// The verdict.
    pub(super) code: ResponseCode,
    /// Whether the zone is ours to speak for.
    pub(super) authoritative: bool,
    /// The records asked for.
    pub(super) answers: Vec<Record>,
    /// The SOA, with answers that say "no".
    pub(super) soa: Option<Record>,
}

// === impl Zone ===

impl Zone {
    /// A zone with its records; fails if `apex` is not a domain name.
    pub(super) fn new(
        apex: &str,
        ttl: Duration,
        records: Records,
    ) -> Result<Self, hickory_proto::ProtoError> {
        let mut apex = Name::from_str(apex)?.to_lowercase();
        apex.set_fqdn(true);
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        Ok(Self { apex, ttl, records })
    }

    /// What to answer to a question.
    pub(super) fn answer(&self, name: &LowerName, asked: &Name, kind: RecordType) -> Reply {
        if !LowerName::from(&self.apex).zone_of(name) {
            return Reply {
                code: ResponseCode::Refused,
                authoritative: false,
                answers: vec![],
                soa: None,
            };
        }
        if *name == LowerName::from(&self.apex) {
            return match kind {
                RecordType::SOA => self.found(vec![self.soa()]),
                _ => self.no(ResponseCode::NoError),
            };
        }
        match self.record(name) {
            None | Some(Answer::Fault(Fault::Nxdomain)) => self.no(ResponseCode::NXDomain),
            Some(Answer::Fault(Fault::Servfail)) => Reply {
                code: ResponseCode::ServFail,
                authoritative: true,
                answers: vec![],
                soa: None,
            },
            Some(Answer::Addresses(addresses))
                if kind == RecordType::A && !addresses.is_empty() =>
            {
                self.found(
                    addresses
                        .iter()
                        // The name is echoed as it was asked, letter case included (0x20 resolvers compare it).
                        .map(|a| Record::from_rdata(asked.clone(), self.ttl, RData::A(A(*a))))
                        .collect(),
                )
            }
            Some(Answer::Addresses(_)) => self.no(ResponseCode::NoError),
        }
    }

    /// The record of a name one label below the apex.
    fn record(&self, name: &LowerName) -> Option<&Answer> {
        let name = Name::from(name);
        if name.num_labels() != self.apex.num_labels() + 1 {
            return None;
        }
        let label = std::str::from_utf8(name.iter().next()?).ok()?;
        self.records.get(&label.parse::<RegionName>().ok()?)
    }

    const fn found(&self, answers: Vec<Record>) -> Reply {
        Reply {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            soa: None,
        }
    }

    fn no(&self, code: ResponseCode) -> Reply {
        Reply {
            code,
            authoritative: true,
            answers: vec![],
            soa: Some(self.soa()),
        }
    }

    fn soa(&self) -> Record {
        let under = |label: &str| {
            self.apex
                .prepend_label(label)
                .unwrap_or_else(|_| self.apex.clone())
        };
        let soa = SOA::new(
            under("ns"),
            under("hostmaster"),
            1,
            3600,
            600,
            86400,
            self.ttl,
        );
        Record::from_rdata(self.apex.clone(), self.ttl, RData::SOA(soa))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, kind: RecordType) -> (ResponseCode, bool, Vec<String>, bool) {
        let records: Records = serde_json::from_str(
            r#"{"us-east": ["127.77.1.111"], "dead": [], "sick": "servfail", "gone": "nxdomain"}"#,
        )
        .expect("valid");
        let zone =
            Zone::new("regions.frontdoor.test", Duration::from_secs(5), records).expect("valid");
        let name = Name::from_str(name).expect("name");
        let reply = zone.answer(&LowerName::from(&name), &name, kind);
        let text = reply
            .answers
            .iter()
            .map(|r| {
                assert_eq!((r.ttl, &r.name), (5, &name));
                r.data.to_string()
            })
            .collect();
        (reply.code, reply.authoritative, text, reply.soa.is_some())
    }

    #[test]
    fn answers() {
        use RecordType::{A, AAAA, SOA, TXT};
        use ResponseCode::{NXDomain, NoError, Refused, ServFail};
        let found = vec!["127.77.1.111".to_owned()];
        assert_eq!(
            check("us-east.regions.frontdoor.test.", A),
            (NoError, true, found.clone(), false)
        );
        assert_eq!(
            check("US-East.Regions.frontdoor.test.", A),
            (NoError, true, found, false)
        );
        for (name, kind, code) in [
            ("us-east.regions.frontdoor.test.", AAAA, NoError),
            ("us-east.regions.frontdoor.test.", TXT, NoError),
            ("dead.regions.frontdoor.test.", A, NoError),
            ("regions.frontdoor.test.", A, NoError),
            ("mars.regions.frontdoor.test.", A, NXDomain),
            ("gone.regions.frontdoor.test.", A, NXDomain),
            ("x.us-east.regions.frontdoor.test.", A, NXDomain),
        ] {
            assert_eq!(
                check(name, kind),
                (code, true, vec![], true),
                "{name} {kind}"
            );
        }
        assert_eq!(
            check("sick.regions.frontdoor.test.", A),
            (ServFail, true, vec![], false)
        );
        for other in [
            "frontdoor.test.",
            "example.com.",
            ".",
            "notregions.frontdoor.test.",
        ] {
            assert_eq!(check(other, A), (Refused, false, vec![], false), "{other}");
        }
        assert_eq!(check("regions.frontdoor.test.", SOA).2.len(), 1);
    }
}
