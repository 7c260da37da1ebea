//! What AWS says when it says no: a code, words, and whether something may have been done all the same. The
//! code decides; nobody reads the words but for people.

use std::time::Duration;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde::Deserialize;
use skyward_runtime::provider::{ProviderError, ProviderErrorKind as Kind};

use super::TITLE;
use super::connector::Broken;
use crate::http::{advice, excerpt};

/// A request that failed.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The cloud's code, such as `VcpuLimitExceeded`; empty where it never came to one.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) kind: Kind,
    /// How long the cloud wants to be left alone, if it said so.
    pub(super) after: Option<Duration>,
    /// It may have done what it was for all the same.
    pub(super) is_unsure: bool,
}

impl Refusal {
    /// By its code.
    pub(super) fn said(code: &str, message: &str) -> Self {
        let kind = kind(code).unwrap_or(Kind::InvalidRequest);
        Self {
            code: code.to_owned(),
            message: format!("{message} ({code})"),
            kind,
            after: None,
            is_unsure: kind == Kind::Transient,
        }
    }

    /// A request that could not be written.
    pub(super) fn malformed(message: String) -> Self {
        Self { code: String::new(), message, kind: Kind::InvalidRequest, after: None, is_unsure: false }
    }

    /// An answer that is not what its documentation says.
    pub(super) fn unreadable(error: &dyn std::fmt::Display) -> Self {
        let message = format!("the answer is not what its documentation says: {error}");
        Self { code: String::new(), message, kind: Kind::Transient, after: None, is_unsure: true }
    }

    /// No answer.
    pub(super) fn broken(broken: &Broken) -> Self {
        let Broken { reason, is_unsent } = broken;
        let message = reason.clone();
        Self { code: String::new(), message, kind: Kind::Transient, after: None, is_unsure: !is_unsent }
    }

    /// What a service without an SDK answered.
    pub(super) fn of_body(status: u16, after: Option<&str>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let json: Option<Told> = serde_json::from_slice(body).ok();
        let (code, message) = match json {
            // The code may have a name space before it.
            Some(told) => (told.code.rsplit('#').next().unwrap_or_default().to_owned(), told.message),
            None => (
                between(&text, "<Code>", "</Code>").unwrap_or_default().to_owned(),
                between(&text, "<Message>", "</Message>").map(str::to_owned),
            ),
        };
        let message = message.unwrap_or_else(|| format!("HTTP {status}: {}", excerpt(body)));
        Self::answered(status, after, &code, &message)
    }

    /// What the SDK made of an answer, or of none.
    pub(super) fn of_sdk<E: ProvideErrorMetadata>(error: SdkError<E, HttpResponse>) -> Self {
        if let SdkError::DispatchFailure(failure) = &error {
            let mut cause: Option<&(dyn std::error::Error + 'static)> =
                failure.as_connector_error().map(|it| it as _);
            while let Some(deeper) = cause {
                if let Some(broken) = deeper.downcast_ref::<Broken>() {
                    return Self::broken(broken);
                }
                cause = deeper.source();
            }
        }
        let after = error.raw_response().and_then(|it| it.headers().get("retry-after")).map(str::to_owned);
        let status = error.raw_response().map(|it| it.status().as_u16());
        match (&error, status) {
            (SdkError::ServiceError(told), Some(status)) => {
                let (code, message) = (told.err().code(), told.err().message());
                let message = message.map_or_else(|| format!("HTTP {status}"), str::to_owned);
                Self::answered(status, after.as_deref(), code.unwrap_or_default(), &message)
            }
            (SdkError::ConstructionFailure(_), _) => {
                Self::malformed("the request cannot be written".to_owned())
            }
            (_, Some(status)) if status >= 400 => {
                Self::answered(status, after.as_deref(), "", &format!("HTTP {status}"))
            }
            _ => Self::unreadable(&error),
        }
    }

    fn answered(status: u16, after: Option<&str>, code: &str, message: &str) -> Self {
        let by_status = || match status {
            401 => Kind::Auth,
            403 => Kind::Permission,
            404 => Kind::NotFound,
            429 => Kind::RateLimited,
            408 | 500.. => Kind::Transient,
            _ => Kind::InvalidRequest,
        };
        let kind = kind(code).unwrap_or_else(by_status);
        let after = after.and_then(|it| it.trim().parse().ok()).map(Duration::from_secs);
        let message = if code.is_empty() { message.to_owned() } else { format!("{message} ({code})") };
        Self { code: code.to_owned(), message, kind, after, is_unsure: kind == Kind::Transient }
    }

    /// For the pool and for people.
    pub(super) fn told(self, what: &str) -> ProviderError {
        let mut text = format!("failed to {what} at {TITLE}: {}", self.message);
        match self.kind {
            // Its own words say already where the key was looked for.
            Kind::Auth if self.code.is_empty() => text = self.message,
            Kind::InvalidRequest if self.code == "OptInRequired" => {
                text.push_str(
                    "; enable the region or the service in the account's settings, or set another region",
                );
            }
            Kind::Auth => text.push_str("; check the key in AWS_SECRET_ACCESS_KEY, or the profile"),
            kind => {
                if let Some(advice) = advice(kind) {
                    text.push_str(&format!("; {advice}"));
                }
            }
        }
        let told = ProviderError::new(self.kind, text);
        let told = if self.is_unsure { told.unsure() } else { told };
        match self.after {
            Some(after) => told.after(after),
            None => told,
        }
    }
}

impl From<ProviderError> for Refusal {
    /// A key that is not there.
    fn from(error: ProviderError) -> Self {
        Self { code: String::new(), message: error.message, kind: error.kind, after: None, is_unsure: false }
    }
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// What a code means; `None` for one that nobody has written down.
pub(super) fn kind(code: &str) -> Option<Kind> {
    Some(match code {
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientAddressCapacity"
        | "InsufficientVolumeCapacity"
        | "UnfulfillableCapacity"
        | "SpotMaxPriceTooLow" => Kind::NoCapacity,
        // The kind of machine is not in this zone.
        "Unsupported" | "UnsupportedOperation" | "InvalidFleetConfiguration" => Kind::OfferGone,
        "VcpuLimitExceeded"
        | "InstanceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "MaxFleetCountExceeded"
        | "MaxSpotFleetRequestCountExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "VolumeLimitExceeded"
        | "SecurityGroupLimitExceeded"
        | "KeyPairLimitExceeded"
        | "ResourceLimitExceeded"
        | "ResourceCountExceeded" => Kind::Quota,
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => Kind::Auth,
        // The account has not opened the region, or the service; another key would not help.
        "OptInRequired" => Kind::InvalidRequest,
        "UnauthorizedOperation"
        | "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
        | "AccessDenied"
        | "AccessDeniedException"
        | "Client.UnauthorizedOperation" => Kind::Permission,
        "Blocked" | "PendingVerification" => Kind::InsufficientFunds,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "RequestThrottled" => Kind::RateLimited,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "Unavailable"
        | "ServerInternal"
        | "InternalErrorException" => Kind::Transient,
        "DependencyViolation"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "ResourceInUse"
        | "InvalidGroup.InUse"
        | "ConcurrentTagAccess" => Kind::Conflict,
        "InvalidKeyPair.Duplicate"
        | "InvalidGroup.Duplicate"
        | "InvalidPermission.Duplicate"
        | "InvalidLaunchTemplateName.AlreadyExistsException" => Kind::Conflict,
        // An id that cannot be one is none of anything.
        "ParameterNotFound" | "InvalidInstanceID.Malformed" => Kind::NotFound,
        code if code.ends_with(".NotFound") || code.ends_with("NotFoundException") => Kind::NotFound,
        _ => return None,
    })
}

/// The text between two others.
pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_before_the_status() {
        for (status, body, kind, unsure) in [
            (400, r#"{"__type":"com.amazonaws.ssm#ParameterNotFound"}"#, Kind::NotFound, false),
            (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#, Kind::RateLimited, false),
            (
                403,
                "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>",
                Kind::Auth,
                false,
            ),
            (
                400,
                "<Response><Errors><Error><Code>Other</Code><Message>m</Message>",
                Kind::InvalidRequest,
                false,
            ),
            (502, "<html>bad gateway</html>", Kind::Transient, true),
            (403, "", Kind::Permission, false),
        ] {
            let refusal = Refusal::of_body(status, Some("7"), body.as_bytes());
            assert_eq!((refusal.kind, refusal.is_unsure), (kind, unsure), "{body}");
            assert_eq!(refusal.after, Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn what_can_be_done_is_told() {
        let told = |code| Refusal::said(code, "No").told("rent machines").to_string();
        assert_eq!(
            told("AuthFailure"),
            "failed to rent machines at AWS: No (AuthFailure); check the key in AWS_SECRET_ACCESS_KEY, or the \
             profile"
        );
        assert!(told("UnauthorizedOperation").contains("docs/providers"));
        assert!(told("OptInRequired").ends_with("or set another region"));
    }

    #[test]
    fn what_another_offer_another_market_or_another_person_can_mend_is_told_apart() {
        for (code, expected) in [
            ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", Kind::Permission),
            ("OptInRequired", Kind::InvalidRequest),
            ("InsufficientVolumeCapacity", Kind::NoCapacity),
            ("NetworkInterfaceLimitExceeded", Kind::Quota),
            ("MaxSpotFleetRequestCountExceeded", Kind::Quota),
            ("InvalidFleetConfiguration", Kind::OfferGone),
        ] {
            assert_eq!(kind(code), Some(expected), "{code}");
        }
    }
}
