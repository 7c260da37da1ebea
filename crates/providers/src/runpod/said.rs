//! What RunPod's errors mean. The one interface says little more than a status, the other says everything
//! with a 200, and both leave what a pool must tell apart to the words.

use skyward_runtime::provider::ProviderErrorKind as Kind;

use super::api::Problem;
use super::graphql::Failed;
use crate::http::{Answer, Said};

/// What an answer says that went wrong, if anything.
pub(super) fn said(answer: &Answer) -> Option<Said> {
    if let Ok(Failed { errors }) = answer.json()
        && let Some(first) = errors.first()
    {
        let code = first.extensions.as_ref().and_then(|it| it.code.as_deref()).unwrap_or_default();
        return Some(Said::new(kind(answer.status, code, &first.message), &first.message));
    }
    if answer.is_success() {
        return None;
    }
    let Problem { detail, errors } = answer.json().ok()?;
    let kind = kind(answer.status, "", &detail);
    let each = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) };
    Some(Said::new(kind, format!("{detail}{each}")))
}

/// The class, by words before the status.
fn kind(status: u16, code: &str, message: &str) -> Kind {
    let words = format!("{code} {message}").to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|it| words.contains(it));
    match status {
        401 => Kind::Auth,
        402 => Kind::InsufficientFunds,
        429 => Kind::RateLimited,
        // An account may be kept out of some kinds of machines, and have all the others.
        403 if has(&["pool", "gpu type", "data center"]) => Kind::OfferGone,
        403 => Kind::Permission,
        404 | 410 => Kind::NotFound,
        409 => Kind::Conflict,
        500.. => Kind::Transient,
        _ if has(&["unauthorized", "unauthenticated", "logged in", "api key"]) => Kind::Auth,
        _ if has(&["forbidden", "not permitted"]) => Kind::Permission,
        _ if has(&["balance", "insufficient_funds", "not enough funds", "credit"]) => Kind::InsufficientFunds,
        _ if has(&["not found", "not_found"]) => Kind::NotFound,
        _ if has(NO_CAPACITY) => Kind::NoCapacity,
        _ if has(&["quota", "limit", "maximum number"]) => Kind::Quota,
        _ if has(&["bid"]) => Kind::OfferGone,
        _ if has(&["internal_server_error", "something went wrong", "timeout"]) => Kind::Transient,
        _ => Kind::InvalidRequest,
    }
}

/// The ways in which both say that there is none left.
const NO_CAPACITY: &[&str] =
    &["instances available", "supply_constraint", "resources", "capacity", "out of stock", "unavailable"];

#[test]
fn what_a_pool_must_tell_apart_is_told_by_words() {
    let none = "There are no longer any instances available with the requested specifications. Please \
                refresh and try again.";
    for (status, code, message, expected) in [
        (400, "", none, Kind::NoCapacity),
        (200, "", none, Kind::NoCapacity),
        (200, "SUPPLY_CONSTRAINT", "no", Kind::NoCapacity),
        (200, "", "This machine does not have the resources to deploy your pod.", Kind::NoCapacity),
        (402, "", "insufficient balance", Kind::InsufficientFunds),
        (200, "INSUFFICIENT_BALANCE", "top up", Kind::InsufficientFunds),
        (200, "", "Unauthorized", Kind::Auth),
        (200, "", "pod not found to terminate", Kind::NotFound),
        (200, "", "Bid is below the minimum price", Kind::OfferGone),
        (400, "", "You have reached the maximum number of pods", Kind::Quota),
        (400, "", "request could not be processed", Kind::InvalidRequest),
        (403, "", "access denied", Kind::Permission),
        (403, "", "your account cannot access the requested pool", Kind::OfferGone),
        (409, "", "Action not valid", Kind::Conflict),
        (200, "INTERNAL_SERVER_ERROR", "oops", Kind::Transient),
        (503, "", "no", Kind::Transient),
    ] {
        assert_eq!(kind(status, code, message), expected, "{status} {code} {message}");
    }
}
