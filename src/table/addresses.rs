//! Which addresses of a region stay in the table when DNS changes its mind.
//!
//! DNS may be wrong: it may name a dead address, or drop one that works. So an address that an answer drops stays for
//! as long as it is well and nothing that DNS still names is, though not for ever; a new one gets no call while another
//! is well, since it starts as suspect. The table calls this with each answer and each tick.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::risk::Risk;
use super::{EndpointState, Latency, Monitor};
use crate::region::Health;

/// How long an address may be used against DNS: longer than a wrong zone lives, shorter than an address is given to
/// somebody else.
const LINGER: Duration = Duration::from_secs(3_600);
/// Addresses of one region that are looked after; more in an answer are left out.
const MOST: usize = 64;

/// Takes an answer of DNS.
pub(super) fn answered(endpoints: &mut Vec<EndpointState>, answer: &[SocketAddr], now: Instant) {
    for endpoint in endpoints.iter_mut() {
        if answer.contains(&endpoint.address) {
            endpoint.dropped = None;
        } else {
            endpoint.dropped.get_or_insert(now);
        }
    }
    for &address in answer {
        let known = endpoints.iter().any(|e| e.address == address);
        let named = endpoints.iter().filter(|e| e.dropped.is_none()).count();
        if !known && named < MOST {
            endpoints.push(EndpointState {
                address,
                monitor: Monitor::new(now),
                latency: Latency::default(),
                risk: Risk::new(now),
                tally: Arc::default(),
                dropped: None,
                trouble: None,
            });
        }
    }
    prune(endpoints, now);
}

/// Forgets dropped addresses that are needed no more.
pub(super) fn prune(endpoints: &mut Vec<EndpointState>, now: Instant) {
    let replaced = endpoints
        .iter()
        .any(|e| e.dropped.is_none() && e.monitor.health() >= Health::Ramp);
    endpoints.retain(|e| {
        e.dropped.is_none_or(|since| {
            !replaced
                && e.monitor.health() > Health::Down
                && now.saturating_duration_since(since) <= LINGER
        })
    });
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn tell(endpoints: &mut [EndpointState], last: u8, well: bool, now: Instant) {
        let found = endpoints.iter_mut().find(|e| e.address == address(last));
        let monitor = &mut found.expect("known").monitor;
        for _ in 0..5 {
            if well {
                monitor.good(now, &Limits::default());
            } else {
                monitor.miss(super::super::Miss::Certain, now, &Limits::default());
            }
        }
    }

    fn names(endpoints: &[EndpointState]) -> Vec<SocketAddr> {
        endpoints.iter().map(|e| e.address).collect()
    }

    #[test]
    fn an_answer_with_a_dead_address_costs_nothing() {
        let (mut all, now) = (Vec::new(), Instant::now());
        answered(&mut all, &[address(1)], now);
        tell(&mut all, 1, true, now);
        answered(&mut all, &[address(2)], now);
        tell(&mut all, 2, false, now);
        prune(&mut all, now + LINGER);
        assert_eq!(names(&all), [address(1), address(2)], "1 works, 2 does not");
        assert_eq!(all[0].monitor.health(), Health::Up);
        prune(&mut all, now + LINGER + Duration::from_secs(1));
        assert_eq!(names(&all), [address(2)], "not for ever");
    }

    #[test]
    fn a_move_is_done_at_the_first_good_check() {
        let (mut all, now) = (Vec::new(), Instant::now());
        answered(&mut all, &[address(1)], now);
        tell(&mut all, 1, true, now);
        answered(&mut all, &[address(2)], now);
        assert_eq!(names(&all), [address(1), address(2)]);
        tell(&mut all, 2, true, now);
        prune(&mut all, now);
        assert_eq!(names(&all), [address(2)]);
    }

    #[test]
    fn what_is_dropped_and_down_goes_and_what_is_named_again_stays() {
        let (mut all, now) = (Vec::new(), Instant::now());
        answered(&mut all, &[address(1), address(2)], now);
        tell(&mut all, 1, true, now);
        answered(&mut all, &[address(3)], now);
        assert_eq!(names(&all).len(), 3);
        answered(&mut all, &[address(1), address(3)], now);
        assert_eq!(names(&all), [address(1), address(3)]);
        tell(&mut all, 1, false, now);
        answered(&mut all, &[address(3)], now);
        assert_eq!(names(&all), [address(3)]);
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let mut all = Vec::new();
        let many: Vec<_> = (0..=255).map(address).collect();
        answered(&mut all, &many, Instant::now());
        assert_eq!(all.len(), MOST);
    }
}
