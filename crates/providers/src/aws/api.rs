//! The calls of EC2 that are used, each one request. What may come in pages says where the next one begins.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::create_fleet::CreateFleetOutput;
use aws_sdk_ec2::primitives::{Blob, DateTime};
use aws_sdk_ec2::types::{
    CreditSpecificationRequest, Filter, FleetLaunchTemplateConfigRequest,
    FleetLaunchTemplateOverridesRequest, FleetLaunchTemplateSpecificationRequest,
    FleetOnDemandAllocationStrategy, FleetType, Image, Instance, InstanceType, InstanceTypeInfo,
    InstanceTypeOffering, IpPermission, IpRange, Ipv6Range, LaunchTemplateBlockDeviceMappingRequest,
    LaunchTemplateEbsBlockDeviceRequest, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest, LaunchTemplateInstanceMetadataEndpointState,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
    LocationType, OnDemandOptionsRequest, RequestLaunchTemplateData, ResourceType, ShutdownBehavior,
    SpotAllocationStrategy, SpotOptionsRequest, SpotPrice, Subnet, Tag, TagSpecification,
    TargetCapacitySpecificationRequest, UserIdGroupPair, VolumeType,
};

use super::Config;
use super::map;
use super::order::Order;
use super::refusal::Refusal;

/// A page of a list, and where the next one begins.
pub(super) type Page<T> = (Vec<T>, Option<String>);

/// What a call comes to.
type Told<T> = Result<T, Refusal>;

pub(super) async fn offerings(
    ec2: &Client,
    kinds: &[String],
    next: Option<String>,
) -> Told<Page<InstanceTypeOffering>> {
    let ask = ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
    let told =
        ask.set_filters(named("instance-type", kinds)).max_results(1000).set_next_token(next).send().await;
    let told = told.map_err(Refusal::of_sdk)?;
    Ok((told.instance_type_offerings.unwrap_or_default(), more(told.next_token)))
}

pub(super) async fn types(
    ec2: &Client,
    kinds: &[String],
    next: Option<String>,
) -> Told<Page<InstanceTypeInfo>> {
    let ask = ec2.describe_instance_types().set_filters(named("instance-type", kinds));
    let told = ask.max_results(100).set_next_token(next).send().await.map_err(Refusal::of_sdk)?;
    Ok((told.instance_types.unwrap_or_default(), more(told.next_token)))
}

/// What spot machines cost from this moment on, in seconds since 1970: the prices of now, and no older ones.
pub(super) async fn spot(
    ec2: &Client,
    kinds: &[String],
    from: i64,
    next: Option<String>,
) -> Told<Page<SpotPrice>> {
    let ask = ec2.describe_spot_price_history().product_descriptions("Linux/UNIX");
    let ask = ask.start_time(DateTime::from_secs(from)).set_filters(named("instance-type", kinds));
    let told = ask.max_results(1000).set_next_token(next).send().await.map_err(Refusal::of_sdk)?;
    Ok((told.spot_price_history.unwrap_or_default(), more(told.next_token)))
}

pub(super) async fn image(ec2: &Client, id: &str) -> Told<Option<Image>> {
    let told = ec2.describe_images().image_ids(id).send().await.map_err(Refusal::of_sdk)?;
    Ok(told.images.unwrap_or_default().into_iter().next())
}

/// The subnet of this id, or of each zone the one that machines get by default.
pub(super) async fn subnets(ec2: &Client, id: Option<&str>) -> Told<Vec<Subnet>> {
    let ask = match id {
        Some(id) => ec2.describe_subnets().subnet_ids(id),
        None => ec2.describe_subnets().filters(filter("default-for-az", "true")),
    };
    Ok(ask.send().await.map_err(Refusal::of_sdk)?.subnets.unwrap_or_default())
}

pub(super) async fn store_key(ec2: &Client, name: &str, key: &str, tags: &[Tag]) -> Told<()> {
    let ask = ec2.import_key_pair().key_name(name).public_key_material(Blob::new(key.trim().as_bytes()));
    ask.tag_specifications(tagged(ResourceType::KeyPair, tags)).send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

pub(super) async fn delete_key(ec2: &Client, name: &str) -> Told<()> {
    ec2.delete_key_pair().key_name(name).send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

pub(super) async fn create_group(ec2: &Client, name: &str, vpc: &str, tags: &[Tag]) -> Told<String> {
    let ask = ec2.create_security_group().group_name(name).vpc_id(vpc);
    let ask = ask.description("SSH and workers of one pool of Skyward");
    let ask = ask.tag_specifications(tagged(ResourceType::SecurityGroup, tags));
    let told = ask.send().await.map_err(Refusal::of_sdk)?;
    told.group_id.ok_or_else(|| Refusal::unreadable(&"a security group has no id"))
}

/// The ids of security groups of this name, one for each network that has one.
pub(super) async fn groups(ec2: &Client, name: &str) -> Told<Vec<(String, String)>> {
    let ask = ec2.describe_security_groups().filters(filter("group-name", name));
    let told = ask.send().await.map_err(Refusal::of_sdk)?.security_groups.unwrap_or_default();
    Ok(told.into_iter().filter_map(|it| Some((it.group_id?, it.vpc_id?))).collect())
}

/// Lets in SSH, the ports that workers listen on, and the machines of the group among themselves.
pub(super) async fn open_group(ec2: &Client, group: &str, config: &Config) -> Told<()> {
    let (six, four): (Vec<_>, Vec<_>) = config.allow_from.iter().partition(|it| it.contains(':'));
    let four: Vec<_> = four.iter().map(|it| IpRange::builder().cidr_ip(it.as_str()).build()).collect();
    let six: Vec<_> = six.iter().map(|it| Ipv6Range::builder().cidr_ipv6(it.as_str()).build()).collect();
    let from_outside = |protocol: &str, first: i32, last: i32| {
        let rule = IpPermission::builder().ip_protocol(protocol).from_port(first).to_port(last);
        let some = |is_empty: bool| !is_empty;
        let rule = rule.set_ip_ranges(some(four.is_empty()).then(|| four.clone()));
        rule.set_ipv6_ranges(some(six.is_empty()).then(|| six.clone())).build()
    };
    let ourselves = UserIdGroupPair::builder().group_id(group).build();
    let among_us = IpPermission::builder().ip_protocol("-1").user_id_group_pairs(ourselves).build();
    let ssh = i32::from(config.ssh_port);
    let ask = ec2.authorize_security_group_ingress().group_id(group).ip_permissions(among_us);
    let ask = match config.allow_from.is_empty() {
        true => ask,
        false => {
            ask.ip_permissions(from_outside("tcp", ssh, ssh)).ip_permissions(from_outside("udp", 1024, 65535))
        }
    };
    ask.send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

pub(super) async fn delete_group(ec2: &Client, id: &str) -> Told<()> {
    ec2.delete_security_group().group_id(id).send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

/// The template of one order, by the order's name, which no other template has.
pub(super) async fn create_template(ec2: &Client, order: &Order) -> Told<()> {
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_tokens(LaunchTemplateHttpTokensState::Required)
        // What is forwarded, out of a container for one, does not get there.
        .http_put_response_hop_limit(1)
        .build();
    let network = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .device_index(0)
        .associate_public_ip_address(order.has_public_address)
        .delete_on_termination(true)
        .groups(&order.group)
        .build();
    let disk = LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_size(order.disk_gb)
        .volume_type(VolumeType::Gp3)
        .delete_on_termination(true)
        .build();
    let disk =
        LaunchTemplateBlockDeviceMappingRequest::builder().device_name(&order.root_device).ebs(disk).build();
    // The image may say that they stay, and bill, when their machine has ended.
    let ends = LaunchTemplateEbsBlockDeviceRequest::builder().delete_on_termination(true).build();
    let more = order.more_devices.iter().map(|it| {
        LaunchTemplateBlockDeviceMappingRequest::builder().device_name(it).ebs(ends.clone()).build()
    });
    let profile = order
        .profile
        .as_ref()
        .map(|it| LaunchTemplateIamInstanceProfileSpecificationRequest::builder().arn(it).build());
    let credits = map::is_burstable(&order.instance_type)
        .then(|| CreditSpecificationRequest::builder().cpu_credits("standard").build());
    let data = RequestLaunchTemplateData::builder()
        .set_credit_specification(credits)
        .image_id(&order.image)
        .key_name(&order.key)
        .user_data(order.user_data.reveal())
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .metadata_options(metadata)
        .network_interfaces(network)
        .set_block_device_mappings(Some(std::iter::once(disk).chain(more).collect()))
        .set_iam_instance_profile(profile)
        .build();
    let ask = ec2.create_launch_template().launch_template_name(&order.name).client_token(&order.name);
    let ask = ask.launch_template_data(data);
    let ask = ask.tag_specifications(tagged(ResourceType::LaunchTemplate, &order.tags));
    ask.send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

/// The names of a pool's templates that are still there.
pub(super) async fn templates(ec2: &Client, pool: &str) -> Told<Vec<String>> {
    let ask = ec2.describe_launch_templates().filters(filter("tag:skyward-pool", pool));
    let told = ask.send().await.map_err(Refusal::of_sdk)?.launch_templates.unwrap_or_default();
    Ok(told.into_iter().filter_map(|it| it.launch_template_name).collect())
}

pub(super) async fn delete_template(ec2: &Client, name: &str) -> Told<()> {
    ec2.delete_launch_template().launch_template_name(name).send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

/// Rents the machines of an order, from whichever of its zones has them. The answer is a success, whatever
/// came of it.
pub(super) async fn fleet(ec2: &Client, order: &Order) -> Told<CreateFleetOutput> {
    let template = FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(&order.name)
        .version("$Latest")
        .build();
    let from = |subnet: &String| {
        let kind = InstanceType::from(order.instance_type.as_str());
        FleetLaunchTemplateOverridesRequest::builder().instance_type(kind).subnet_id(subnet).build()
    };
    let overrides: Vec<_> = order.subnets.iter().map(from).collect();
    let places = FleetLaunchTemplateConfigRequest::builder()
        .launch_template_specification(template)
        .set_overrides(Some(overrides))
        .build();
    let wanted = i32::try_from(order.count).unwrap_or(i32::MAX);
    let capacity = TargetCapacitySpecificationRequest::builder()
        .total_target_capacity(wanted)
        .default_target_capacity_type(map::market(order.market))
        .build();
    let spot = SpotOptionsRequest::builder()
        .allocation_strategy(SpotAllocationStrategy::from(order.strategy.as_str()))
        .build();
    let stays = OnDemandOptionsRequest::builder()
        .allocation_strategy(FleetOnDemandAllocationStrategy::LowestPrice)
        .build();
    let ask = ec2.create_fleet().r#type(FleetType::Instant).client_token(&order.token);
    let ask = ask.launch_template_configs(places).target_capacity_specification(capacity);
    let mut ask = ask.spot_options(spot).on_demand_options(stays);
    for resource in
        [ResourceType::Fleet, ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface]
    {
        ask = ask.tag_specifications(tagged(resource, &order.tags));
    }
    ask.send().await.map_err(Refusal::of_sdk)
}

/// Machines with this tag, in whatever state.
pub(super) async fn machines(
    ec2: &Client,
    tag: &str,
    value: &str,
    next: Option<String>,
) -> Told<Page<Instance>> {
    let ask = ec2.describe_instances().filters(filter(&format!("tag:{tag}"), value));
    let told = ask.max_results(1000).set_next_token(next).send().await.map_err(Refusal::of_sdk)?;
    let machines =
        told.reservations.unwrap_or_default().into_iter().flat_map(|it| it.instances.unwrap_or_default());
    Ok((machines.collect(), more(told.next_token)))
}

pub(super) async fn terminate(ec2: &Client, ids: &[String]) -> Told<()> {
    ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send().await.map_err(Refusal::of_sdk)?;
    Ok(())
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A filter for these names, if there are any.
fn named(name: &str, values: &[String]) -> Option<Vec<Filter>> {
    let filter = || Filter::builder().name(name).set_values(Some(values.to_vec())).build();
    (!values.is_empty()).then(|| vec![filter()])
}

fn tagged(resource: ResourceType, tags: &[Tag]) -> TagSpecification {
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags.to_vec())).build()
}

/// An empty name of a page is none.
fn more(next: Option<String>) -> Option<String> {
    next.filter(|it| !it.is_empty())
}
