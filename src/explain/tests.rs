//! Which calls are kept, which are pushed out, and how one is found again.

use frontdoor_protocol::names::RegionName;

use super::*;

fn diary(share: f64, kept: usize) -> Diary {
    Diary::new(ExplainSettings { share, kept })
}

fn call(at_ms: u64, kept: Kept) -> Call {
    Call {
        id: RequestId::untagged(at_ms, at_ms.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        at_ms,
        function: None,
        version: None,
        kept,
        outcome: "answered".into(),
        status: 200,
        attempts: 1,
        stop: None,
        first_byte_ms: None,
        total_ms: 1.0,
        decisions: Vec::new(),
    }
}

#[test]
fn good_calls_do_not_push_out_bad_ones_and_the_oldest_go_first() {
    let diary = diary(1.0, 3);
    diary.keep(call(1, Kept::Failed));
    for at in 2..12 {
        diary.keep(call(at, Kept::Sampled));
    }
    let times: Vec<u64> = diary.last(10).iter().map(|c| c.at_ms).collect();
    assert_eq!(times, [11, 10, 9, 1]);
    assert_eq!(diary.last(2).len(), 2);
}

#[test]
fn a_call_is_found_whatever_region_its_id_names() {
    let diary = diary(1.0, 3);
    let kept = call(7, Kept::Moved);
    let id = kept.id;
    diary.keep(kept);
    let region: RegionName = "us-east".parse().expect("valid");
    assert!(diary.find(id).is_some());
    assert!(diary.find(id.with_tag(region.tag())).is_some());
    assert!(diary.find(call(8, Kept::Moved).id).is_none());
}

#[test]
fn the_share_is_kept_and_all_trouble() {
    let count = |share: f64| {
        let diary = diary(share, 1);
        let ids = (0..10_000).map(|at| call(at, Kept::Sampled).id);
        ids.filter(|id| diary.samples(*id)).count()
    };
    assert_eq!((count(0.0), count(1.0)), (0, 10_000));
    assert!((800..1200).contains(&count(0.1)), "{}", count(0.1));

    let (none, id) = (diary(0.0, 1), call(1, Kept::Failed).id);
    let cases = [
        (1, Outcome::Answered, 200, None),
        (2, Outcome::Answered, 200, Some(Kept::Moved)),
        (2, Outcome::Failed, 502, Some(Kept::Failed)),
        (0, Outcome::Failed, 503, Some(Kept::Failed)),
        (1, Outcome::Broken, 200, Some(Kept::Failed)),
        (1, Outcome::Declined, 503, Some(Kept::Failed)),
        (1, Outcome::Declined, 401, None),
        (0, Outcome::Refused, 400, None),
        (1, Outcome::Gone, 0, None),
    ];
    for (attempts, outcome, status, kept) in cases {
        assert_eq!(
            none.keeps(id, attempts, outcome, status),
            kept,
            "{outcome:?} {status}"
        );
    }
    assert_eq!(
        diary(1.0, 1).keeps(id, 1, Outcome::Answered, 200),
        Some(Kept::Sampled)
    );
    // A refusal was never routed: there is nothing to explain.
    assert_eq!(diary(1.0, 1).keeps(id, 0, Outcome::Refused, 400), None);
}

#[test]
fn nothing_is_kept_in_no_room() {
    let diary = diary(1.0, 0);
    diary.keep(call(1, Kept::Failed));
    assert!(diary.last(5).is_empty());
}
