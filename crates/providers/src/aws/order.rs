//! One request for machines, with everything that it needs, and what its answer means.

use aws_sdk_ec2::operation::create_fleet::CreateFleetOutput;
use aws_sdk_ec2::types::Tag;
use skyward_runtime::model::{InstanceId, Market, Secret};
use skyward_runtime::provider::ProviderErrorKind as Kind;

use super::refusal::Refusal;

/// One request for machines.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Its own alone: the name of its template, and the tag of its machines.
    pub(super) name: String,
    /// A second request under the same one gets the same fleet.
    pub(super) token: String,
    pub(super) count: u32,
    pub(super) market: Market,
    pub(super) instance_type: String,
    /// Where: one subnet for each zone.
    pub(super) subnets: Vec<String>,
    pub(super) image: String,
    /// The device that the image starts from.
    pub(super) root_device: String,
    /// Those of the other disks that the image brings.
    pub(super) more_devices: Vec<String>,
    pub(super) disk_gb: i32,
    pub(super) key: String,
    pub(super) group: String,
    pub(super) profile: Option<String>,
    pub(super) has_public_address: bool,
    pub(super) strategy: String,
    /// As the cloud takes it, in base 64.
    pub(super) user_data: Secret<String>,
    pub(super) tags: Vec<Tag>,
}

/// The machines of an answer, and why there are no more.
pub(super) fn outcome(answer: &CreateFleetOutput) -> (Vec<InstanceId>, Option<Refusal>) {
    let machines = answer.instances().iter().flat_map(|it| it.instance_ids()).map(InstanceId::new).collect();
    let refusals = answer.errors().iter().map(|it| {
        let code = it.error_code().unwrap_or_default();
        Refusal::said(code, it.error_message().unwrap_or("no words"))
    });
    (machines, refusals.min_by_key(|it| weight(it.kind)))
}

/// Of what several zones said, what no other zone and no later try can mend comes first.
const fn weight(kind: Kind) -> u8 {
    match kind {
        Kind::Auth | Kind::Permission | Kind::InsufficientFunds => 0,
        Kind::Quota => 1,
        Kind::RateLimited => 2,
        Kind::NoCapacity => 3,
        Kind::Transient | Kind::Conflict => 4,
        Kind::OfferGone => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{CreateFleetError, CreateFleetInstance};

    use super::*;

    fn answer(codes: &[&str], ids: &[&str]) -> CreateFleetOutput {
        let error = |code: &&str| CreateFleetError::builder().error_code(*code).error_message("No").build();
        let ids = ids.iter().map(|it| (*it).to_owned()).collect();
        CreateFleetOutput::builder()
            .set_errors(Some(codes.iter().map(error).collect()))
            .instances(CreateFleetInstance::builder().set_instance_ids(Some(ids)).build())
            .build()
    }

    #[test]
    fn a_success_is_read_for_its_errors_and_the_one_that_counts_is_told() {
        for (codes, kind) in [
            (&["Unsupported", "InsufficientInstanceCapacity"][..], Kind::NoCapacity),
            (&["Unsupported", "Unsupported"], Kind::OfferGone),
            (&["UnfulfillableCapacity", "VcpuLimitExceeded"], Kind::Quota),
            (&["InvalidParameter", "MaxSpotInstanceCountExceeded"], Kind::Quota),
            (&["UnauthorizedOperation", "VcpuLimitExceeded"], Kind::Permission),
            (&["RequestLimitExceeded", "InsufficientInstanceCapacity"], Kind::RateLimited),
            (&["InvalidAMIID.Malformed"], Kind::InvalidRequest),
        ] {
            let (machines, refusal) = outcome(&answer(codes, &["i-1", "i-2"]));
            assert_eq!((machines.len(), refusal.expect("a refusal").kind), (2, kind), "{codes:?}");
        }
        assert!(outcome(&answer(&[], &["i-1"])).1.is_none());
    }
}
