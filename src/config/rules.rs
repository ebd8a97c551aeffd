//! How health is judged and routes are chosen, as configured: what the file leaves out has the default of `table` and `route`.

use frontdoor_protocol::config::RuleError;

use super::file::{HealthFile, RouteFile};
use super::settings::{require, span};
use crate::route::Policy;
use crate::table::Limits;

pub(super) fn limits(file: &HealthFile) -> Result<Limits, RuleError> {
    let base = Limits::default();
    let limits = Limits {
        misses_to_suspect: file.misses_to_suspect.unwrap_or(base.misses_to_suspect),
        misses_to_down: file.misses_to_down.unwrap_or(base.misses_to_down),
        silence_to_down: span(file.silence_to_down, base.silence_to_down),
        good_to_up: file.good_to_up.unwrap_or(base.good_to_up),
        good_to_return: file.good_to_return.unwrap_or(base.good_to_return),
        hold_down: span(file.hold_down, base.hold_down),
        hold_down_max: span(file.hold_down_max, base.hold_down_max),
        ramp: span(file.ramp, base.ramp),
        bad_to_suspect: file.bad_to_suspect.unwrap_or(base.bad_to_suspect),
        bad_to_down: file.bad_to_down.unwrap_or(base.bad_to_down),
        ..base
    };
    require(
        limits.misses_to_suspect > 0,
        "health.misses_to_suspect",
        "must be at least 1",
    )?;
    require(
        limits.misses_to_down >= limits.misses_to_suspect,
        "health.misses_to_down",
        "must not be below health.misses_to_suspect",
    )?;
    let share = |value: f64| value > 0.0 && value <= 1.0;
    require(
        share(limits.bad_to_suspect),
        "health.bad_to_suspect",
        "must be above 0 and at most 1",
    )?;
    require(
        share(limits.bad_to_down),
        "health.bad_to_down",
        "must be above 0 and at most 1",
    )?;
    Ok(limits)
}

pub(super) fn policy(file: &RouteFile) -> Result<Policy, RuleError> {
    let base = Policy::default();
    let policy = Policy {
        peer_margin: span(file.peer_margin, base.peer_margin),
        peer_ratio: file.peer_ratio.unwrap_or(base.peer_ratio),
        moves: file.moves.unwrap_or(base.moves),
        service: span(file.service, base.service),
        cold: span(file.cold, base.cold),
        failure: span(file.failure, base.failure),
        retry_after: span(file.retry_after, base.retry_after),
    };
    require(
        (0.0..=1.0).contains(&policy.peer_ratio),
        "route.peer_ratio",
        "must be from 0 to 1",
    )?;
    require(policy.moves <= 3, "route.moves", "must be at most 3")?;
    require(
        !policy.service.is_zero(),
        "route.service",
        "must be above 0: a queue that costs no time would never be avoided",
    )?;
    // It is told in whole seconds, and 0 would call for a storm.
    require(
        policy.retry_after.as_secs() > 0,
        "route.retry_after",
        "must be at least 1s",
    )?;
    Ok(policy)
}
