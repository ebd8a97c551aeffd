//! One question however many wait, both verdicts kept, old ones used when nobody answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use super::super::verdict::Caller;
use super::*;

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    stale: Duration::from_secs(600),
};

fn question(n: u8) -> Question {
    Question {
        hash: KeyHash([n; 32]),
        function: "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid"),
        version: None,
        call: None,
    }
}

fn yes() -> Verdict {
    Ok(Caller::named(&"a".into()))
}

fn answer(verdict: Verdict) -> Option<Answer> {
    Some(Answer { verdict, ttl: None })
}

#[tokio::test]
async fn many_callers_ask_once() {
    let (cache, now) = (Cache::new(10, POLICY), Instant::now());
    let asked = Cell::new(0);
    let ask = || async {
        asked.set(asked.get() + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        (answer(yes()), now)
    };
    let question = question(1);
    let one = || cache.verdict(&question, now, ask);
    let all = futures_util::future::join_all((0..100).map(|_| one())).await;
    assert_eq!(asked.get(), 1);
    assert!(all.iter().all(|(verdict, _)| *verdict == yes()));
    let asking = all.iter().filter(|(_, used)| *used == Used::Asked).count();
    assert_eq!(asking, 1);
    assert_eq!(cache.known(&question, now), Some(yes()));
}

#[tokio::test]
async fn who_leaves_while_asking_harms_nobody() {
    let (cache, now) = (Cache::new(10, POLICY), Instant::now());
    let question = question(1);
    let never = || std::future::pending::<(Option<Answer>, Instant)>();
    let first = cache.verdict(&question, now, never);
    assert!(
        tokio::time::timeout(Duration::from_millis(10), first)
            .await
            .is_err()
    );
    let ask = || async { (answer(yes()), now) };
    assert_eq!(cache.verdict(&question, now, ask).await.0, yes());
}

#[tokio::test]
async fn verdicts_age_are_asked_for_again_and_outlive_the_authority() {
    let cache = Cache::new(10, POLICY);
    let question = question(1);
    let no = || Err(Denied::Unknown);
    let clock = Cell::new(Instant::now());
    let script: RefCell<VecDeque<Option<Answer>>> = RefCell::default();
    let asked = Cell::new(0);
    let ask = || async {
        asked.set(asked.get() + 1);
        (script.borrow_mut().pop_front().flatten(), clock.get())
    };
    // (seconds to wait, what the authority says if it is asked, what the caller hears, questions so far)
    for (wait, says, heard, questions) in [
        (0, answer(no()), no(), 1),
        (9, None, no(), 1),
        (2, answer(yes()), yes(), 2),
        (59, None, yes(), 2),
        (2, None, yes(), 3),
        (1, None, yes(), 3),
        (1, None, yes(), 4),
        (1, None, yes(), 4),
        (595, None, yes(), 5),
        (2, None, Err(Denied::Unsure), 6),
        (1, None, Err(Denied::Unsure), 6),
        (1, answer(no()), no(), 7),
    ] {
        clock.set(clock.get() + Duration::from_secs(wait));
        *script.borrow_mut() = [says].into();
        let (verdict, _) = cache.verdict(&question, clock.get(), ask).await;
        assert_eq!((verdict, asked.get()), (heard, questions), "after {wait}");
    }
}

#[tokio::test]
async fn an_authority_that_wants_to_be_asked_each_time_is() {
    let cache = Cache::new(10, POLICY);
    let (asked, clock) = (Cell::new(0), Cell::new(Instant::now()));
    let ask = || async {
        asked.set(asked.get() + 1);
        let answer = Answer {
            verdict: yes(),
            ttl: Some(Duration::ZERO),
        };
        (Some(answer), clock.get())
    };
    let question = question(1);
    for n in 1..=3 {
        clock.set(clock.get() + Duration::from_millis(1));
        assert_eq!(cache.verdict(&question, clock.get(), ask).await.0, yes());
        assert_eq!(asked.get(), n);
    }
}

#[tokio::test]
async fn three_thousand_keys_fit_twice() {
    let (cache, now) = (Cache::new(100_000, POLICY), Instant::now());
    let asked = Cell::new(0);
    let ask = || async {
        asked.set(asked.get() + 1);
        (answer(yes()), now)
    };
    for _ in 0..2 {
        for n in 0..3_000_u16 {
            let mut question = question(0);
            question.hash.0[..2].copy_from_slice(&n.to_be_bytes());
            assert_eq!(cache.verdict(&question, now, ask).await.0, yes());
        }
    }
    assert_eq!(asked.get(), 3_000);
}
