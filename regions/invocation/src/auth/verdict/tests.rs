//! Tables: scopes and expiry, bearer tokens, and the life of an entry.

use frontdoor_protocol::key::KeyHash;

use super::*;

const ECHO: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
const OTHER: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(60),
    negative_ttl: Duration::from_secs(10),
    stale: Duration::from_secs(600),
};

fn yes() -> Verdict {
    Ok(Caller::named(&"a".into()))
}

#[test]
fn scope_and_expiry_decide() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let echo: FunctionId = ECHO.parse().expect("valid");
    let other: FunctionId = OTHER.parse().expect("valid");
    let one = || Scope::Only([echo].into());
    let second = Duration::from_secs(1);
    for (scope, expires, function, expected) in [
        (Scope::All, None, other, None),
        (Scope::All, Some(now + second), other, None),
        (Scope::All, Some(now), other, Some(Denied::Expired)),
        (Scope::All, Some(now - second), other, Some(Denied::Expired)),
        (one(), None, echo, None),
        (one(), None, other, Some(Denied::Forbidden)),
        (one(), Some(now), other, Some(Denied::Expired)),
        (Scope::Only([].into()), None, echo, Some(Denied::Forbidden)),
    ] {
        let key = Key {
            name: "local".into(),
            hash: KeyHash([0; 32]),
            scope,
            expires,
        };
        assert_eq!(judge(&key, function, now).err(), expected, "{key:?}");
    }
}

#[test]
fn bearer_tokens() {
    for (text, token) in [
        ("Bearer abc", Some("abc")),
        ("bearer abc ", Some("abc")),
        ("BEARER  a b", Some("a b")),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("", None),
    ] {
        assert_eq!(
            bearer(text.as_bytes()),
            token.map(str::as_bytes),
            "{text:?}"
        );
    }
}

#[test]
fn an_answer_holds_for_its_time() {
    let now = Instant::now();
    let at = |seconds: u64| now + Duration::from_secs(seconds);
    for (verdict, ttl, holds_until, stale_until) in [
        (yes(), None, 60, 660),
        (Err(Denied::Unknown), None, 10, 610),
        (yes(), Some(5), 5, 605),
        (Err(Denied::Unknown), Some(30), 30, 630),
        (yes(), Some(1_000_000), 3_600, 4_200),
        (yes(), Some(0), 0, 0),
    ] {
        let answer = Answer {
            verdict,
            ttl: ttl.map(Duration::from_secs),
        };
        let entry = Entry::answered(answer, now, &POLICY);
        assert_eq!(entry.until, at(holds_until));
        assert_eq!(entry.stale_until, at(stale_until));
        assert!(entry.holds(at(holds_until)) && !entry.holds(at(holds_until + 1)));
    }
}

#[test]
fn without_an_answer_the_last_verdict_counts_for_a_while() {
    let now = Instant::now();
    let at = |seconds: u64| now + Duration::from_secs(seconds);
    for verdict in [yes(), Err(Denied::Unknown)] {
        let answer = Answer {
            verdict: verdict.clone(),
            ttl: Some(Duration::from_secs(60)),
        };
        let first = Entry::answered(answer, now, &POLICY);
        let second = Entry::unanswered(Some(&first), at(61));
        assert_eq!(second.verdict, verdict);
        assert!(second.holds(at(62)) && !second.holds(at(63)), "held off");
        let third = Entry::unanswered(Some(&second), at(659));
        assert_eq!((third.verdict, third.until), (verdict, at(660)));
        let last = Entry::unanswered(Some(&second), at(660));
        assert_eq!(last.verdict, Err(Denied::Unsure), "too old");
    }
    let none = Entry::unanswered(None, now);
    assert_eq!(none.verdict, Err(Denied::Unsure));
    assert!(none.holds(at(1)) && !none.holds(at(2)));
    let none = Entry::unanswered(Some(&none), at(2));
    assert_eq!(none.verdict, Err(Denied::Unsure));
}

#[test]
fn names_must_travel_as_headers() {
    assert!(is_name("nvapi user 1"));
    for wrong in ["", "a\nb", "é", &"a".repeat(257)] {
        assert!(!is_name(wrong), "{wrong:?}");
    }
}
