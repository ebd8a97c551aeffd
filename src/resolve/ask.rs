//! One question to DNS: a region's name to addresses, and how long they may be used.
//!
//! A and AAAA of a host with a port, or SRV and then A and AAAA of each target. Weights of SRV are not read: traffic is
//! spread by what is measured. A target that cannot be resolved is left out while another one can.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;

use crate::config::UpstreamEndpoint;

/// Targets of one SRV name that are resolved, a few at a time.
const TARGETS: usize = 32;
const AT_ONCE: usize = 8;

/// Addresses, and until when they may be used.
type Answer = (Vec<SocketAddr>, Instant);

/// Asks; the answer has at least one address.
pub(super) async fn ask(
    resolver: &TokioResolver,
    endpoint: &UpstreamEndpoint,
) -> Result<(Vec<SocketAddr>, Duration), NetError> {
    // A final dot: the name is complete, so no search list is tried.
    let name = format!("{}.", endpoint.host.trim_end_matches('.'));
    let (mut addresses, until) = match endpoint.port {
        Some(port) => host(resolver, name, port).await?,
        None => service(resolver, name).await?,
    };
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(NetError::from("the answer holds no address"));
    }
    Ok((addresses, until.saturating_duration_since(Instant::now())))
}

async fn host(resolver: &TokioResolver, name: String, port: u16) -> Result<Answer, NetError> {
    let found = resolver.lookup_ip(name).await?;
    let addresses = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Ok((addresses, found.valid_until()))
}

async fn service(resolver: &TokioResolver, name: String) -> Result<Answer, NetError> {
    let found = resolver.srv_lookup(name).await?;
    let records = found.answers().iter().filter_map(|r| match &r.data {
        RData::SRV(srv) => Some(srv.clone()),
        _ => None,
    });
    let hosts = futures_util::stream::iter(preferred(records.collect()))
        .map(|srv| async move { host(resolver, srv.target.to_string(), srv.port).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut addresses, mut until, mut failed) = (Vec::new(), found.valid_until(), None);
    for answer in hosts {
        match answer {
            Ok((more, valid)) => {
                addresses.extend(more);
                until = until.min(valid);
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok((addresses, until)),
    }
}

/// The targets of the best priority (RFC 2782: the lowest number); a target "." says that there is no such service.
fn preferred(mut records: Vec<SRV>) -> Vec<SRV> {
    let best = records.iter().map(|srv| srv.priority).min();
    records.retain(|srv| Some(srv.priority) == best && !srv.target.is_root());
    records.truncate(TARGETS);
    records
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    #[test]
    fn the_best_priority_is_asked_for() {
        let srv = |priority, name: &str| {
            SRV::new(priority, 1, 80, Name::from_ascii(name).expect("a name"))
        };
        let check = |records: Vec<SRV>| preferred(records).len();
        assert_eq!(check(vec![srv(2, "a."), srv(1, "b."), srv(1, "c.")]), 2);
        assert_eq!(check(vec![srv(0, ".")]), 0);
        assert_eq!(check(vec![srv(0, "a."); 100]), TARGETS);
    }
}
