//! What can be set for AWS.

use std::time::Duration;

use serde::Deserialize;
use skyward_runtime::model::{Secret, Usd};
use skyward_runtime::usd;

use crate::cloud::{KeyFile, KeyPlaces};
use crate::http::{Access, seconds};

/// What can be set for AWS. Read from settings, unknown names are refused.
///
/// ```
/// use skyward_providers::aws::{Aws, Config};
/// let near = Aws::new(Config { regions: vec!["eu-central-1".into(), "eu-west-1".into()], ..Config::default() });
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The id of the access key. Default: `AWS_ACCESS_KEY_ID`, or what the profile has.
    pub access_key_id: Option<String>,
    /// The secret of the access key. Default: `AWS_SECRET_ACCESS_KEY`, or what the profile has.
    pub secret_access_key: Option<Secret<String>>,
    /// The profile of the AWS CLI whose key and region are used. Default: `AWS_PROFILE`, or `default`.
    pub profile: Option<String>,
    /// The region to rent in. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, or `us-east-1`.
    pub region: Option<String>,
    /// Several regions to rent in, in place of the one. Default none.
    pub regions: Vec<String>,
    /// The kinds of machines to offer, such as `g6.xlarge` or `p5.*`. Default: all of them. Fewer are listed
    /// faster.
    pub instance_types: Vec<String>,
    /// The image of every machine, by its id. Default: Canonical's Ubuntu, and for machines with NVIDIA's
    /// accelerators Amazon's image with their drivers on Ubuntu 22.04, for those of Amazon's own the one with
    /// Neuron.
    pub ami: Option<String>,
    /// The version of Ubuntu where no image is named. Default `24.04`.
    pub ubuntu_version: String,
    /// Where the ids of images are looked up, in place of `/aws/service` in the names of their parameters.
    pub ami_parameters: String,
    /// The subnet to put machines in, in one region. Default: those of the default VPC, one for each zone.
    pub subnet_id: Option<String>,
    /// The security group of every machine. Default: each pool gets one that lets in SSH, UDP from 1024 on, and
    /// everything between the pool's machines.
    pub security_group_id: Option<String>,
    /// Who may reach the machines, as networks, where the pool has a security group of its own. Default:
    /// everybody, who then has to show a key or a certificate.
    pub allow_from: Vec<String>,
    /// The instance profile of every machine, which lets what runs on it use the account. Default none.
    pub instance_profile_arn: Option<String>,
    /// The user to log in as, who must be root or may become it with `sudo`. Default `ubuntu`.
    pub username: Option<String>,
    /// The port of the machines' SSH server. Default 22.
    pub ssh_port: u16,
    /// The size of each machine's disk, in GB, where a spec does not say it. Default 100.
    pub disk_gb: u32,
    /// What a GB of disk costs in a month, in dollars: it is in every price. Default 0.08, as in the United States; most
    /// other regions take up to half as much more.
    pub disk_monthly: Usd,
    /// What a public address costs in an hour, in dollars: it is in every price, unless addresses are private. Default
    /// 0.005, as everywhere.
    pub address_hourly: Usd,
    /// Whether machines are reached at their private addresses, and get no public one. Default no. It needs
    /// a way into the subnet, such as a VPN.
    pub private_address: bool,
    /// Whether machines get a host key that we made, in their user data, so that it is known before the first
    /// dial. Default yes; an image without cloud-init needs no.
    pub inject_host_key: bool,
    /// How long a machine lives that has booted and that nobody has reached. Default 300 s; a lease that is
    /// longer counts.
    #[serde(deserialize_with = "seconds")]
    pub instance_timeout: Duration,
    /// The command with which a machine ends itself. It must shut the machine down, which terminates it. Default
    /// `sudo -n shutdown -h now || shutdown -h now`.
    pub shutdown_command: String,
    /// By what spot machines are chosen among the zones: `price-capacity-optimized`, `capacity-optimized`,
    /// `capacity-optimized-prioritized`, `lowest-price` or `diversified`. Default the first.
    pub allocation_strategy: String,
    /// Whether a spot machine that AWS recommends to replace counts as one that will be taken, two minutes later.
    /// Default no: most such recommendations come to nothing.
    pub heed_rebalance: bool,
    /// Whether machines that save up processor time (t2, t3, t3a, t4g) are left out, which are slow once it is used
    /// up. Default yes. Those that are rented buy no more of it.
    pub exclude_burstable: bool,
    /// How the cloud is reached.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access_key_id: None,
            secret_access_key: None,
            profile: None,
            region: None,
            regions: Vec::new(),
            instance_types: Vec::new(),
            ami: None,
            ubuntu_version: "24.04".to_owned(),
            ami_parameters: "/aws/service".to_owned(),
            subnet_id: None,
            security_group_id: None,
            allow_from: vec!["0.0.0.0/0".to_owned()],
            instance_profile_arn: None,
            username: None,
            ssh_port: 22,
            disk_gb: 100,
            disk_monthly: usd!(0.08),
            address_hourly: usd!(0.005),
            private_address: false,
            inject_host_key: true,
            instance_timeout: Duration::from_secs(300),
            shutdown_command: "sudo -n shutdown -h now || shutdown -h now".to_owned(),
            allocation_strategy: "price-capacity-optimized".to_owned(),
            heed_rebalance: false,
            exclude_burstable: true,
            access: Access::default(),
        }
    }
}

impl Config {
    /// What so many GB of disk cost in an hour: a month has 730 of them here.
    pub(super) fn disks(&self, gb: u32) -> Usd {
        self.disk_monthly.fraction(u128::from(gb), 730)
    }

    /// What a machine costs in an hour beside its own price: its disk, and its address where it has a public one.
    pub(super) fn beside(&self) -> Usd {
        let address = if self.private_address { Usd::ZERO } else { self.address_hourly };
        self.disks(self.disk_gb) + address
    }

    /// The user to log in as.
    pub(super) fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("ubuntu")
    }
}

/// Where the secret is looked for.
pub(crate) const KEYS: KeyPlaces = KeyPlaces {
    variables: &["AWS_SECRET_ACCESS_KEY"],
    file: Some(KeyFile { path: CREDENTIALS, read: default_profile }),
};

/// Where the AWS CLI keeps keys, below the home folder.
pub(super) const CREDENTIALS: &str = ".aws/credentials";

/// The secret of the profile that is taken when nobody names one.
fn default_profile(text: &str) -> Option<String> {
    super::profile::value(text, "default", "aws_secret_access_key")
}
