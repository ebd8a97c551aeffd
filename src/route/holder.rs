//! Where the answer of an earlier call is: [`holder`] over one snapshot.
//!
//! Pure. An edge writes the region it sends a call to into the call's id, so the id alone tells: no question over NATS, no
//! state that edges share. That region is asked whatever its health and though it drains, because nobody else has the
//! answer; what it says is final. Ids that no edge made (a region was called directly, or has left the configuration)
//! tell nothing: then the regions are asked in turn, as many as a call may visit.

use std::time::Duration;

use frontdoor_protocol::names::RegionTag;

use super::draw::Draw;
use super::world::address;
use super::{Decision, NoRegion, Reason, Tried};
use crate::region::RegionIndex;
use crate::table::{RegionView, Snapshot};

/// A region that cannot be asked now is worth another try when its probes have had time to find another address.
const NOBODY: NoRegion = NoRegion {
    retry_after: Duration::from_secs(2),
};

/// The region to ask next for an answer whose id carries `tag`.
///
/// # Errors
/// If there is none that was not asked.
pub fn holder(
    snapshot: &Snapshot,
    tag: Option<RegionTag>,
    tried: &Tried,
    seed: u64,
) -> Result<Decision, NoRegion> {
    let named = |view: &RegionView| Some(view.tag) == tag;
    let known = snapshot.regions.iter().any(named);
    let asked = |(index, view): &(usize, &RegionView)| {
        (!known || named(view)) && !tried.contains(RegionIndex(*index))
    };
    let open = snapshot.regions.iter().enumerate().filter(asked);
    // The first of the best: those that answer are asked before those that may let the caller wait.
    let (index, _) = open
        .filter(|(_, view)| !view.endpoints.is_empty())
        .min_by_key(|(_, view)| std::cmp::Reverse(view.health))
        .ok_or(NOBODY)?;
    Ok(Decision {
        epoch: snapshot.epoch,
        region: RegionIndex(index),
        address: address(&snapshot.doors[index], Draw::new(seed)).ok_or(NOBODY)?,
        reason: Reason::Holder,
        row: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use frontdoor_protocol::names::RegionName;

    use super::*;
    use crate::region::{Health, Tally};
    use crate::table::EndpointView;

    fn view(name: &str, health: Health, draining: bool) -> RegionView {
        let name: RegionName = name.parse().expect("valid");
        let octet = u8::try_from(name.as_str().len()).expect("short");
        RegionView {
            tag: name.tag(),
            name,
            health,
            draining,
            weight: 1.0,
            ramp: 1.0,
            rtt: None,
            endpoints: vec![EndpointView {
                address: ([10, 0, 0, octet], 8080).into(),
                health,
                rtt: None,
                tally: Arc::new(Tally::default()),
                dropped: false,
                risk: 0.0,
                grey: false,
            }],
            risk: 0.0,
            grey: false,
            heard: None,
            facts: Arc::default(),
            trust: None,
            key: u64::from(octet),
            condition: crate::table::Condition::default(),
        }
    }

    fn world() -> Snapshot {
        let regions = vec![
            view("us-east", Health::Suspect, false),
            view("eu-west-1", Health::Up, false),
            view("ap", Health::Down, true),
        ];
        Snapshot::new(7, regions, Arc::default())
    }

    fn check(tag: Option<&str>, tried: &[usize]) -> Option<usize> {
        let tag = tag.map(|name| name.parse::<RegionName>().expect("valid").tag());
        let mut been = Tried::default();
        for region in tried {
            been.add(RegionIndex(*region));
        }
        let decision = holder(&world(), tag, &been, 1).ok()?;
        assert_eq!((decision.reason, decision.epoch), (Reason::Holder, 7));
        Some(decision.region.0)
    }

    #[test]
    fn the_region_in_the_id_is_asked_and_no_other() {
        for (name, index) in [("us-east", 0), ("eu-west-1", 1), ("ap", 2)] {
            assert_eq!(check(Some(name), &[]), Some(index), "{name}: well or not");
            assert_eq!(
                check(Some(name), &[index]),
                None,
                "{name}: its word is final"
            );
        }
    }

    #[test]
    fn an_id_of_others_is_looked_for_everywhere() {
        for tag in [None, Some("gone")] {
            assert_eq!(check(tag, &[]), Some(1));
            assert_eq!(check(tag, &[1]), Some(0));
            assert_eq!(check(tag, &[1, 0]), Some(2));
            assert_eq!(check(tag, &[1, 0, 2]), None);
        }
    }

    #[test]
    fn a_region_without_an_address_cannot_be_asked() {
        let mut world = world();
        world.regions[2].endpoints.clear();
        let tag = Some(world.regions[2].tag);
        assert_eq!(holder(&world, tag, &Tried::default(), 1), Err(NOBODY));
    }
}
