//! The address plan: which part listens where. Every stack has a block 127.B.C.0/24 of its own, so that ports can be
//! fixed and known before anything runs, and any number of stacks (and their tests) live side by side.
//!
//! Addresses only; whether a block is free is for `block` to find out. (pure)

use std::net::{Ipv4Addr, SocketAddrV4};

use frontdoor_protocol::names::RegionName;

/// Last octets of the parts that exist once.
const HUB: u8 = 1;
const DNS: u8 = 2;
const WAN: u8 = 3;
/// Region i lives at 11 + i, its WAN front at 111 + i.
const FIRST_REGION: u8 = 11;
const FIRST_FRONT: u8 = 111;

/// How many regions fit between the two.
pub(super) const MAX_REGIONS: usize = 100;

/// The zone in which the regions' endpoint names live.
pub(super) const ZONE: &str = "regions.frontdoor.test";

/// The port at which a region's front answers; the edge is told it in its configuration.
pub(super) const FRONT_PORT: u16 = 8080;

/// 127.B.C.0/24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block(u8, u8);

/// All addresses of one stack.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    block: Block,
    regions: Vec<RegionName>,
}

/// All addresses of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegionPlan {
    /// Where the region's own clients reach its NATS.
    pub(super) nats: SocketAddrV4,
    /// NATS monitoring over HTTP.
    pub(super) monitor: SocketAddrV4,
    /// The invocation service.
    pub(super) invocation: SocketAddrV4,
    /// Its admin port.
    pub(super) invocation_admin: SocketAddrV4,
    /// The worker's admin port.
    pub(super) worker_admin: SocketAddrV4,
    /// The sample function.
    pub(super) function: SocketAddrV4,
    /// What DNS answers and the edge connects to: the delayed way to `invocation`.
    pub(super) front: SocketAddrV4,
    /// What the region's NATS connects to: the delayed way to the hub.
    pub(super) leaf: SocketAddrV4,
}

/// Why a set of regions cannot make a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("a stack needs at least one region")]
    NoRegion,
    #[error("a stack has room for {MAX_REGIONS} regions, not {0}")]
    TooMany(usize),
    #[error("region `{0}` is given twice")]
    Twice(RegionName),
    #[error("a region cannot be called `{0}`: that is a part of the stack")]
    Reserved(RegionName),
    #[error("regions `{0}` and `{1}` would share the tag that request ids carry; rename one")]
    SameTag(RegionName, RegionName),
}

// === impl Block ===

impl Block {
    /// A block from random bits. 127.0.x.x and the last blocks are left to others.
    pub(super) fn pick(random: u16) -> Self {
        let [high, low] = random.to_be_bytes();
        Self(64 + high % 128, low)
    }

    fn at(self, last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, self.0, self.1, last), port)
    }
}

// === impl Plan ===

impl Plan {
    /// Plans a stack, if these regions can make one.
    pub(super) fn new(block: Block, regions: Vec<RegionName>) -> Result<Self, PlanError> {
        if regions.is_empty() {
            return Err(PlanError::NoRegion);
        }
        if regions.len() > MAX_REGIONS {
            return Err(PlanError::TooMany(regions.len()));
        }
        for (i, region) in regions.iter().enumerate() {
            if ["hub", "dns", "wan", "edge"].contains(&region.as_str()) {
                return Err(PlanError::Reserved(region.clone()));
            }
            for earlier in regions.iter().take(i) {
                if earlier == region {
                    return Err(PlanError::Twice(region.clone()));
                }
                if earlier.tag() == region.tag() {
                    return Err(PlanError::SameTag(earlier.clone(), region.clone()));
                }
            }
        }
        Ok(Self { block, regions })
    }

    /// The regions, in the order they were given.
    pub(super) fn regions(&self) -> &[RegionName] {
        &self.regions
    }

    /// The supervisor's control port, which is also what marks the block as taken.
    pub(super) fn control(&self) -> SocketAddrV4 {
        self.block.at(HUB, 9900)
    }

    /// The hub for clients.
    pub(super) fn hub(&self) -> SocketAddrV4 {
        self.block.at(HUB, 4222)
    }

    /// The hub for leaf nodes.
    pub(super) fn hub_leaf(&self) -> SocketAddrV4 {
        self.block.at(HUB, 7422)
    }

    /// The hub's monitoring.
    pub(super) fn hub_monitor(&self) -> SocketAddrV4 {
        self.block.at(HUB, 8222)
    }

    /// DNS, over UDP and TCP.
    pub(super) fn dns(&self) -> SocketAddrV4 {
        self.block.at(DNS, 5353)
    }

    /// The DNS server's admin port.
    pub(super) fn dns_admin(&self) -> SocketAddrV4 {
        self.block.at(DNS, 9905)
    }

    /// The delay lines' admin port.
    pub(super) fn wan_admin(&self) -> SocketAddrV4 {
        self.block.at(WAN, 9906)
    }

    /// The addresses of one region.
    pub(super) fn region(&self, name: &RegionName) -> Option<RegionPlan> {
        let index = self.regions.iter().position(|r| r == name)?;
        let index = u8::try_from(index).ok()?;
        let (host, front) = (FIRST_REGION + index, FIRST_FRONT + index);
        Some(RegionPlan {
            nats: self.block.at(host, 4222),
            monitor: self.block.at(host, 8222),
            invocation: self.block.at(host, 8080),
            invocation_admin: self.block.at(host, 9902),
            worker_admin: self.block.at(host, 9903),
            function: self.block.at(host, 8000),
            front: self.block.at(front, FRONT_PORT),
            leaf: self.block.at(front, self.hub_leaf().port()),
        })
    }

    /// Every region with its addresses.
    pub(super) fn each(&self) -> impl Iterator<Item = (&RegionName, RegionPlan)> {
        self.regions
            .iter()
            .filter_map(|name| Some((name, self.region(name)?)))
    }

    /// Every TCP address the stack listens on, control port apart.
    pub(super) fn listens(&self) -> Vec<SocketAddrV4> {
        let mut all = vec![
            self.hub(),
            self.hub_leaf(),
            self.hub_monitor(),
            self.dns(),
            self.dns_admin(),
            self.wan_admin(),
        ];
        for (_, r) in self.each() {
            all.extend([
                r.nats,
                r.monitor,
                r.invocation,
                r.invocation_admin,
                r.worker_admin,
                r.function,
                r.front,
                r.leaf,
            ]);
        }
        all
    }
}

/// A region's endpoint name, without a trailing dot.
pub(super) fn endpoint_name(region: &RegionName) -> String {
    format!("{region}.{ZONE}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(names: &[&str]) -> Vec<RegionName> {
        names.iter().map(|n| n.parse().expect("valid")).collect()
    }

    #[test]
    fn addresses_follow_the_plan() {
        let plan = Plan::new(Block(77, 1), names(&["us-east", "eu-west"])).expect("valid");
        let check = |addr: SocketAddrV4, text: &str| assert_eq!(addr.to_string(), text);
        check(plan.control(), "127.77.1.1:9900");
        check(plan.hub(), "127.77.1.1:4222");
        check(plan.hub_leaf(), "127.77.1.1:7422");
        check(plan.dns(), "127.77.1.2:5353");
        check(plan.wan_admin(), "127.77.1.3:9906");
        let west = plan.region(&names(&["eu-west"])[0]).expect("planned");
        check(west.invocation, "127.77.1.12:8080");
        check(west.worker_admin, "127.77.1.12:9903");
        check(west.front, "127.77.1.112:8080");
        check(west.leaf, "127.77.1.112:7422");
        assert_eq!(plan.region(&names(&["mars"])[0]), None);
    }

    #[test]
    fn no_address_is_used_twice_even_with_many_regions() {
        let many: Vec<RegionName> = (0..20)
            .map(|i| format!("r{i}").parse().expect("valid"))
            .collect();
        let all = Plan::new(Block(64, 0), many).expect("valid").listens();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn region_sets_that_cannot_work_are_refused() {
        let check = |list: Vec<RegionName>| Plan::new(Block(64, 0), list).expect_err("refused");
        assert_eq!(check(vec![]), PlanError::NoRegion);
        assert_eq!(
            check(names(&["a", "b", "a"])),
            PlanError::Twice(names(&["a"])[0].clone())
        );
        assert_eq!(
            check(names(&["hub"])),
            PlanError::Reserved(names(&["hub"])[0].clone())
        );
        let crowd = (0..101)
            .map(|i| format!("r{i}").parse().expect("valid"))
            .collect();
        assert_eq!(check(crowd), PlanError::TooMany(101));
    }

    #[test]
    fn blocks_stay_inside_their_range() {
        for random in [0, 1, 0xff, 0xff00, u16::MAX] {
            let Block(b, _) = Block::pick(random);
            assert!((64..192).contains(&b), "{b}");
        }
    }
}
