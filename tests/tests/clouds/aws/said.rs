//! What AWS says and moto cannot: no capacity, quotas, limits, machines that are taken back; and what is in our
//! requests, which moto believes.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use skyward::accelerators;
use skyward::provider::{
    InstanceId, InstanceState, Market, Offer, Provider, ProviderErrorKind as Kind, Request,
};
use skyward_providers::aws::{Aws as Provided, Config};
use skyward_providers::http::Access;
use skyward_runtime::model::{HostKey, Loss, Notice};
use skyward_runtime::ssh::ClientKey;

use super::model::{Models, pairs};
use super::{Asked, Aws, ELSEWHERE, Moto, REGION, answer, config, fixture, refused, unbase64};
use crate::checks::request;
use crate::fake::{Condition, Fake, Fault, Hits};
use crate::logs;
use crate::server::{Reply, Seen};

/// A stand-in, if there can be one.
async fn fake() -> Option<Fake> {
    Moto::get()?;
    Some(Fake::start(Box::<Aws>::default()).await)
}

/// A provider that gives lists their time, as for a real cloud.
fn patient(fake: &Fake) -> Provided {
    let access = Access { settles: Duration::from_secs(30), ..fake.access() };
    Provided::new(config(&fake.key, access, 22))
}

/// Lets the next requests of an action be answered with these.
fn script(fake: &Fake, action: &'static str, replies: &[Reply]) {
    for reply in replies {
        fake.face().script(action, reply.clone());
    }
}

async fn rented(fake: &Fake, provider: &dyn Provider, count: u32) -> (Request, Vec<InstanceId>) {
    let request = request(fake, "pool1");
    provider.prepare(&request).await.unwrap();
    let rented = provider.provision(&request, count).await.unwrap();
    (request, rented.instances.into_iter().map(|it| it.id).collect())
}

async fn is_gone_because(provider: &dyn Provider, request: &Request, id: &InstanceId, words: &str) -> Loss {
    match provider.describe(request, id).await.unwrap().state {
        InstanceState::Gone { reason, loss } => {
            assert!(reason.contains(words), "{reason}");
            loss
        }
        other => panic!("{other:?}"),
    }
}

/// The bodies of all requests of an action.
fn asked(fake: &Fake, action: &str) -> Vec<Vec<(String, String)>> {
    let seen = fake.server.seen().into_iter().filter(|it| Asked::of(it).action == action);
    seen.map(|it| pairs(&it.body)).collect()
}

fn of<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(it, _)| it == name).map_or("", |(_, it)| it.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_given_in_part_is_some_machines_and_why_there_are_no_more() {
    let Some(fake) = fake().await else { return };
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    provider.prepare(&request).await.unwrap();
    script(&fake, "CreateFleet", &[answer("create_fleet_partial.200.xml")]);
    let rented = provider.provision(&request, 2).await.unwrap();
    let ids: Vec<_> = rented.instances.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["i-0123456789abcdef0"]);
    assert_eq!(rented.shortfall.unwrap().kind, Kind::NoCapacity);
    assert_eq!(fake.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_named_with_what_it_is_and_how_to_ask_for_more() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    let request = request(&fake, "pool1");
    let offer = fake.face().offers().into_iter().find(|it| it.id.starts_with("g4dn")).unwrap();
    let request = Request { offer, ..request };
    provider.prepare(&request).await.unwrap();
    let in_a_success = fixture("create_fleet_no_capacity.200.xml").replacen(
        "InsufficientInstanceCapacity",
        "VcpuLimitExceeded",
        1,
    );
    let refusals = [answer("error_vcpu_limit.400.xml"), Reply::text(200, &in_a_success)];
    for (refusal, market, code) in refusals
        .into_iter()
        .zip([Market::OnDemand, Market::Spot])
        .zip(["L-DB2E81BA", "L-3819A6DF"])
        .map(|((a, b), c)| (a, b, c))
    {
        script(&fake, "CreateFleet", &[refusal]);
        let request = Request { market, ..request.clone() };
        let error = provider.provision(&request, 3).await.unwrap_err();
        assert_eq!(error.kind, Kind::Quota);
        for words in
            [code, "in us-east-1, 8 vCPUs now", "this needs 12 vCPUs", "request-service-quota-increase"]
        {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    // Who may not read quotas is told all the rest.
    script(&fake, "CreateFleet", &[answer("error_vcpu_limit.400.xml")]);
    let denied = Reply::text(400, r#"{"__type":"AccessDeniedException","Message":"no"}"#);
    script(&fake, "GetServiceQuota", &[denied]);
    let error = provider.provision(&request, 3).await.unwrap_err().to_string();
    assert!(error.contains("L-DB2E81BA") && !error.contains("vCPUs now"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_came_too_often_is_sent_again_and_buys_once() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    script(
        &fake,
        "CreateFleet",
        &[answer("error_request_limit.503.xml"), answer("error_request_limit.503.xml")],
    );
    let (request, ids) = rented(&fake, &*provider, 2).await;
    assert_eq!(fake.machines().len(), 2);
    let mut ours: Vec<_> = ids.iter().map(|it| it.as_str().to_owned()).collect();
    ours.sort();
    assert_eq!(fake.machines(), ours);
    let tokens: Vec<_> =
        asked(&fake, "CreateFleet").iter().map(|it| of(it, "ClientToken").to_owned()).collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|it| *it == tokens[0] && !it.is_empty()), "{tokens:?}");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_bought_is_looked_for_by_its_tag_and_asked_again_under_its_token() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    fake.fail(Hits::Rent, [Fault::Lost, Fault::DoneButLost]);
    let (request, ids) = rented(&fake, &*provider, 2).await;
    assert_eq!((ids.len(), fake.machines().len()), (2, 2), "nothing is bought twice");
    let fleets = asked(&fake, "CreateFleet");
    assert_eq!(fleets.len(), 2);
    assert_eq!(of(&fleets[0], "ClientToken"), of(&fleets[1], "ClientToken"));
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_answer_was_lost_is_asked_for_again_and_is_the_same() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    fake.fail(Hits::Rent, [Fault::DoneButLost]);
    let (request, ids) = rented(&fake, &*provider, 3).await;
    assert_eq!((ids.len(), fake.machines().len()), (3, 3), "nothing is bought twice");
    assert_eq!(asked(&fake, "CreateFleet").len(), 2);
    assert!(asked(&fake, "DescribeInstances").is_empty(), "nobody had to look");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_what_was_bought_goes_on_until_it_has_all_and_counts_no_dead_machine() {
    let Some(fake) = fake().await else { return };
    let provider = patient(&fake);
    fake.fail(Hits::Rent, [Fault::Lost, Fault::DoneButLost]);
    let dead = answer("describe_instances_spot_interrupted.200.xml");
    script(&fake, "DescribeInstances", &[dead, refused(500, "InternalError"), empty_list()]);
    let (request, ids) = rented(&fake, &provider, 2).await;
    let mut ours: Vec<_> = ids.iter().map(|it| it.as_str().to_owned()).collect();
    ours.sort();
    assert_eq!(ours, fake.machines());
    assert_eq!(ours.len(), 2);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_known_though_nobody_tidies_up_after_the_fleet() {
    let Some(fake) = fake().await else { return };
    let provider = patient(&fake);
    let broken = refused(500, "InternalError");
    script(&fake, "DeleteLaunchTemplate", &[broken.clone(), broken.clone(), broken.clone(), broken]);
    let (request, ids) = rented(&fake, &provider, 2).await;
    assert_eq!((ids.len(), fake.machines().len()), (2, 2));
    assert_eq!(asked(&fake, "DeleteLaunchTemplate").len(), 1, "one try");
    provider.teardown(&request).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_made_is_waited_for_when_it_is_said_not_to_be_there() {
    let Some(fake) = fake().await else { return };
    let provider = patient(&fake);
    script(&fake, "AuthorizeSecurityGroupIngress", &[refused(400, "InvalidGroup.NotFound")]);
    let unknown = fixture("create_fleet_no_capacity.200.xml")
        .replace("InsufficientInstanceCapacity", "InvalidLaunchTemplateName.NotFoundException")
        .replace("UnfulfillableCapacity", "InvalidLaunchTemplateName.NotFoundException");
    script(&fake, "CreateFleet", &[Reply::text(200, &unknown)]);
    let (request, ids) = rented(&fake, &provider, 1).await;
    assert_eq!((ids.len(), fake.machines().len()), (1, 1));
    let fleets = asked(&fake, "CreateFleet");
    assert_eq!(fleets.len(), 2);
    assert_ne!(of(&fleets[0], "ClientToken"), of(&fleets[1], "ClientToken"), "it would fail again");
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_nobody_knows_yet_is_ended_all_the_same() {
    let Some(fake) = fake().await else { return };
    let provider = patient(&fake);
    let unknown = || answer("error_instance_not_found.400.xml");
    for ends_by_id in [true, false] {
        let (request, ids) = rented(&fake, &provider, 2).await;
        // At first neither who ends machines nor who lists them has heard of these.
        script(&fake, "TerminateInstances", &[unknown(), unknown(), unknown(), unknown()]);
        script(&fake, "DescribeInstances", &[empty_list()]);
        match ends_by_id {
            true => provider.terminate(&request, &ids).await.unwrap(),
            false => assert_eq!(provider.teardown(&request).await.unwrap(), []),
        }
        assert_eq!(fake.machines(), [""; 0], "{ends_by_id}");
    }
}

/// A list of no machines.
fn empty_list() -> Reply {
    Reply::text(200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>")
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_spot_machine_ended_is_told() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    let request = request(&fake, "pool1");
    script(&fake, "DescribeInstances", &[answer("describe_instances_spot_interrupted.200.xml")]);
    let id = InstanceId::new("i-0123456789abcdef0");
    let loss =
        is_gone_because(&*provider, &request, &id, "the cloud took it back: Server.SpotInstance").await;
    assert_eq!(loss, Loss::Preempted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_machine_hears_that_it_will_be_taken_and_others_have_nobody_to_ask() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    let request = request(&fake, "pool1");
    for (market, number) in [(Market::OnDemand, 1), (Market::Spot, 2)] {
        let request = Request { market, ..request.clone() };
        provider.prepare(&request).await.unwrap();
        let rented = provider.provision(&request, 1).await.unwrap().instances;
        let id = &rented[0].id;
        fake.face().set(id.as_str(), Condition::Active(IpAddr::from([203, 0, 113, number])));
        let InstanceState::Running { notice, .. } = provider.describe(&request, id).await.unwrap().state
        else {
            panic!("it runs")
        };
        let asks = matches!(&notice, Notice::Command { shell, .. } if shell.contains("spot/instance-action"));
        assert_eq!((asks, notice == Notice::None), (market == Market::Spot, market == Market::OnDemand));
        fake.face().set(id.as_str(), Condition::Taken);
        let loss = is_gone_because(&*provider, &request, id, "the cloud took it back").await;
        assert_eq!(loss, Loss::Preempted);
    }
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_no_list_has_yet_is_pending_and_one_that_is_not_known_keeps_no_other() {
    let Some(fake) = fake().await else { return };
    let provider = patient(&fake);
    let (request, ids) = rented(&fake, &provider, 2).await;
    script(&fake, "DescribeInstances", &[empty_list()]);
    assert_eq!(provider.describe(&request, &ids[0]).await.unwrap().state, InstanceState::Pending);
    // What was rented long ago, or by somebody else, is not.
    script(&fake, "DescribeInstances", &[empty_list()]);
    let loss = is_gone_because(&patient(&fake), &request, &ids[0], "AWS knows no machine").await;
    assert_eq!(loss, Loss::Stopped);
    let unknown = answer("error_instance_not_found.400.xml");
    script(&fake, "TerminateInstances", &[unknown.clone(), unknown]);
    provider.terminate(&request, &ids).await.unwrap();
    assert_eq!(fake.machines(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_group_goes_when_nothing_uses_it_any_more() {
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    let (request, _) = rented(&fake, &*provider, 1).await;
    let used = answer("error_sg_dependency.400.xml");
    script(&fake, "DeleteSecurityGroup", &[used.clone(), used.clone(), used]);
    assert_eq!(provider.teardown(&request).await.unwrap(), []);
    assert_eq!(asked(&fake, "DeleteSecurityGroup").len(), 4);
    assert_eq!(fake.left(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_is_told_with_where_to_look() {
    let Some(fake) = fake().await else { return };
    let (provider, request) = (fake.provider(), request(&fake, "pool1"));
    script(&fake, "ImportKeyPair", &[answer("error_unauthorized.403.xml")]);
    let error = provider.prepare(&request).await.unwrap_err();
    assert_eq!(error.kind, Kind::Permission);
    assert!(error.to_string().contains("docs/providers"), "{error}");
    script(
        &fake,
        "DescribeSubnets",
        &[Reply::text(200, "<DescribeSubnetsResponse><subnetSet/></DescribeSubnetsResponse>")],
    );
    let error = provider.prepare(&request).await.unwrap_err();
    assert!(error.to_string().contains("create-default-vpc --region us-east-1"), "{error}");
    script(&fake, "DescribeInstanceTypeOfferings", &[refused(401, "OptInRequired")]);
    let error = provider.offers().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
}

/// Tags are on everything, the template says how a machine ends, and what is secret in it is nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_told_its_host_key_and_how_to_end_and_nobody_else_is() {
    logs::capture();
    let Some(fake) = fake().await else { return };
    let provider = fake.provider();
    let (request, ids) = rented(&fake, &*provider, 1).await;
    let template = &asked(&fake, "CreateLaunchTemplate")[0];
    let data = |name: &str| of(template, &format!("LaunchTemplateData.{name}")).to_owned();
    assert_eq!(data("MetadataOptions.HttpTokens"), "required");
    assert_eq!(data("MetadataOptions.HttpPutResponseHopLimit"), "1");
    assert_eq!(data("InstanceInitiatedShutdownBehavior"), "terminate");
    assert_eq!(data("KeyName"), "skyward-pool1");
    let is_burstable = request.offer.instance_type.name.starts_with("t3.");
    assert_eq!(data("CreditSpecification.CpuCredits"), if is_burstable { "standard" } else { "" });
    assert_eq!(
        (data("BlockDeviceMapping.1.Ebs.VolumeSize"), data("IamInstanceProfile.Arn")),
        ("100".into(), String::new())
    );
    let told = unbase64(&data("UserData"));
    assert!(told.starts_with("#cloud-config\n") && told.contains("BEGIN OPENSSH PRIVATE KEY"), "{told}");
    let HostKey::Known(public) = fake.face().host_key(ids[0].as_str()) else { panic!("its key is known") };
    assert!(told.contains(&format!("ed25519_public: {public}\n")), "{told}");
    assert_ne!(public, ClientKey::generate().unwrap().public());
    for action in ["ImportKeyPair", "CreateSecurityGroup", "CreateLaunchTemplate", "CreateFleet"] {
        let form = asked(&fake, action).remove(0);
        for tag in ["skyward-pool", "skyward-owner", "skyward-created", "skyward-ttl"] {
            assert!(form.iter().any(|(_, value)| value == tag), "{action} has no {tag}");
        }
    }
    // The template is gone as soon as the fleet has answered.
    assert!(!fake.left().iter().any(|it| it.contains("launch template")), "{:?}", fake.left());
    provider.teardown(&request).await.unwrap();
    let log = logs::text();
    let line = told.lines().nth(5).unwrap().trim();
    assert!(line.len() > 60 && !log.contains(line), "a line of the host key is in the log");
    assert!(!log.contains(&data("UserData")[400..500]), "user data is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_regions_are_offered_and_what_is_left_in_any_of_them_is_found() {
    let Some(fake) = fake().await else { return };
    let with = |settings: Config| {
        Provided::new(Config { regions: vec![REGION.into(), ELSEWHERE.into()], ..settings })
    };
    let provider = with(config(&fake.key, fake.access(), 22));
    let offers: Vec<Offer> = provider.offers().try_collect().await.unwrap();
    let of = |region: &str| offers.iter().find(|it| it.id == format!("t3.micro@{region}")).cloned().unwrap();
    let (here, there) = (of(REGION), of(ELSEWHERE));
    // One that cannot be asked keeps no other.
    let denied = || refused(403, "UnauthorizedOperation");
    script(&fake, "DescribeInstanceTypeOfferings", &[denied()]);
    let one: Vec<Offer> = provider.offers().try_collect().await.unwrap();
    assert!(!one.is_empty() && one.iter().all(|it| it.region == one[0].region), "of one region");
    script(&fake, "DescribeInstanceTypeOfferings", &[denied(), denied()]);
    let error = provider.offers().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, Kind::Permission);
    assert!(there.specific["zones"].starts_with("eu-west-1a"), "{there:?}");
    let here = Request { offer: here, ..request(&fake, "pool1") };
    let there = Request { offer: there, ..here.clone() };
    for request in [&here, &there] {
        provider.prepare(request).await.unwrap();
        assert_eq!(provider.provision(request, 1).await.unwrap().instances.len(), 1);
    }
    // Whoever tears down one of them remembers nothing of the other.
    let other = with(config(&fake.key, fake.access(), 22));
    assert_eq!(other.teardown(&here).await.unwrap(), []);
    assert_eq!(fake.left(), [""; 0]);
    for request in [&here, &there] {
        assert_eq!(other.teardown(request).await.unwrap(), [], "twice is harmless");
    }
    let ended = asked(&fake, "TerminateInstances").len();
    assert_eq!(ended, 2, "one machine in each region");
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_machines_can_be_left_out() {
    let Some(fake) = fake().await else { return };
    let settings = config(&fake.key, fake.access(), 22);
    let plain = Provided::new(Config { exclude_burstable: true, ..settings.clone() });
    let offers: Vec<Offer> = plain.offers().try_collect().await.unwrap();
    assert!(!offers.is_empty() && offers.iter().all(|it| !it.id.starts_with("t3.")));
    // What the default image cannot drive is there for who brings an image.
    let brought = Provided::new(Config { ami: Some("ami-1".into()), ..settings.clone() });
    let offers: Vec<Offer> = brought.offers().try_collect().await.unwrap();
    let part = offers.iter().find(|it| it.id == "g6f.large@us-east-1").unwrap();
    let part = part.instance_type.accelerator.clone().unwrap();
    assert_eq!(part, accelerators::L4.count(0.125).memory_mib(2861));
    let one = Provided::new(Config { instance_types: vec!["p4d.24xlarge".into()], ..settings });
    let offers: Vec<Offer> = one.offers().try_collect().await.unwrap();
    assert_eq!(offers.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["p4d.24xlarge@us-east-1"]);
}

/// Whether the models see anything: each request is made wrong by hand, and must then be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_name_and_a_wrong_type_are_seen_in_every_request() {
    let Some(fake) = fake().await else { return };
    let Some(models) = Models::load() else { return };
    let provider = fake.provider();
    provider.offers().try_collect::<Vec<_>>().await.unwrap();
    let (request, _) = rented(&fake, &*provider, 2).await;
    provider.teardown(&request).await.unwrap();
    assert_eq!(fake.violations(), [""; 0]);
    let mut mutants = 0;
    for seen in fake.server.seen() {
        let Asked { service, .. } = Asked::of(&seen);
        let wrong = |form: &[(String, String)]| models.form(&service, form);
        match seen.header("x-amz-target") {
            "" => {
                let form = pairs(&seen.body);
                for (place, (name, value)) in form.iter().enumerate() {
                    let mut misspelt = form.clone();
                    misspelt[place].0 = format!("{name}x");
                    assert!(!wrong(&misspelt).is_empty(), "{name}x is let through");
                    let is_typed =
                        value.parse::<f64>().is_ok() || ["true", "false"].contains(&value.as_str());
                    // The version of a template, a protocol, and what a tag or a filter has, are texts.
                    let is_text = ["Version", ".Value", "IpProtocol"].iter().any(|it| name.contains(it));
                    if is_typed && !is_text {
                        let mut typed = form.clone();
                        typed[place].1 = "another type".into();
                        assert!(!wrong(&typed).is_empty(), "{name} is let through with another type");
                    }
                    mutants += 1;
                }
            }
            target => mutants += json_mutants(&models, &service, target, &seen),
        }
    }
    assert!(mutants > 100, "{mutants}");
}

fn json_mutants(models: &Models, service: &str, target: &str, seen: &Seen) -> usize {
    let body = seen.json();
    let fields = body.as_object().unwrap();
    for name in fields.keys() {
        let mut misspelt = fields.clone();
        let value = misspelt.remove(name).unwrap();
        misspelt.insert(format!("{name}x"), value);
        assert!(
            !models.json(service, target, &misspelt.into()).is_empty(),
            "{target}: {name}x is let through"
        );
    }
    fields.len()
}
