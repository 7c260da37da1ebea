//! Offers that run out, providers that refuse, budgets that end, as tables.

use super::*;
use crate::model::{Requirements, Usd};
use crate::pool::offers::{Asked, Terms, rank};

/// Two clouds, one after the other.
fn two(nodes: u32) -> Vec<Candidate> {
    ["one", "two"].map(|it| candidate(it, Nodes::from(nodes))).to_vec()
}

fn fails(request: u32, numbers: &[u32], kind: ProviderErrorKind) -> Heard {
    let shortfall = Shortfall { reason: "no".into(), kind, after: None, unsure: false };
    let instances = numbers.iter().copied().map(instance).collect();
    Heard::Provisioned { request: Attempt(request), instances, shortfall: Some(shortfall) }
}

/// What is prepared and asked for, and from whom, until nothing is.
fn tried(candidates: Vec<Candidate>, kind: ProviderErrorKind) -> (Vec<String>, Vec<Effect>) {
    let (mut state, mut asked, mut source) = (after(vec![born()]), Vec::new(), String::new());
    let mut effects = state.hear(plan(candidates), now(), &Timing::default());
    for _ in 0..100 {
        let mut next = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Prepare { candidate, .. } => {
                    source = format!("{} {}", candidate.offer.provider, candidate.tariff.market);
                    next.push(Heard::Prepared(Ok(())));
                }
                Effect::Provision { request, .. } => {
                    asked.push(source.clone());
                    next.push(fails(request.0, &[], kind));
                }
                Effect::Wake(Timer::Provision, _) => next.push(Heard::Woke(Timer::Provision)),
                _ => {}
            }
        }
        if next.is_empty() {
            return (asked, effects);
        }
        effects = next.into_iter().flat_map(|it| state.hear(it, now(), &Timing::default())).collect();
    }
    panic!("it never ends: {asked:?}");
}

/// D2: the Python original prepares the next offer on the provider of the first.
#[test]
fn what_runs_out_on_one_cloud_is_prepared_and_rented_on_the_cloud_that_made_the_next_offer() {
    use ProviderErrorKind::{
        Auth, Conflict, InsufficientFunds, InvalidRequest, Local, NoCapacity, NotFound, OfferGone,
        Permission, Quota, RateLimited, Transient,
    };
    for kind in [NoCapacity, Transient, Conflict, RateLimited] {
        let (asked, _) = tried(two(1), kind);
        assert_eq!(asked, [vec!["one on-demand"; 3], vec!["two on-demand"; 3]].concat(), "{kind:?}");
    }
    for kind in [Quota, OfferGone, InvalidRequest, NotFound, Auth, Permission, InsufficientFunds, Local] {
        assert_eq!(tried(two(1), kind).0, ["one on-demand", "two on-demand"], "{kind:?}");
    }
}

#[test]
fn bad_credentials_rule_out_all_offers_of_their_provider_and_nothing_else() {
    let offers = ["one", "one", "two", "one"].map(|it| candidate(it, Nodes::from(1))).to_vec();
    assert_eq!(tried(offers.clone(), ProviderErrorKind::Auth).0, ["one on-demand", "two on-demand"]);
    let all = tried(offers, ProviderErrorKind::OfferGone).0;
    assert_eq!(all, ["one on-demand", "one on-demand", "two on-demand", "one on-demand"]);
}

#[test]
fn an_empty_spot_market_is_followed_by_the_same_offer_on_demand_at_its_price() {
    let at = |provider: &str, hourly: Usd, other: Option<Usd>| {
        let spot = Tariff { market: Market::Spot, hourly, billing: Billing::default() };
        let stays = |hourly| Tariff { market: Market::OnDemand, hourly, billing: Billing::default() };
        Candidate { tariff: spot, otherwise: other.map(stays), ..candidate(provider, Nodes::from(1)) }
    };
    let offers = vec![at("one", usd!(1), Some(usd!(3))), at("two", usd!(2), None), at("two", usd!(4), None)];
    let (asked, _) = tried(offers, ProviderErrorKind::Quota);
    assert_eq!(asked, ["one spot", "two spot", "one on-demand", "two spot"]);
}

#[test]
fn when_everything_was_tried_the_failure_says_all_of_it_and_what_was_prepared_is_undone() {
    let (_, effects) = tried(two(1), ProviderErrorKind::OfferGone);
    let Some(Effect::Announce(EventKind::StartFailed { reason })) =
        effects.iter().find(|it| matches!(it, Effect::Announce(EventKind::StartFailed { .. })))
    else {
        panic!("{effects:?}")
    };
    assert_eq!(
        reason,
        "nothing that fits could be rented: one small, $1.00/h on-demand: one gave 0 of 1 machines (attempt 1): \
         no; two small, $1.00/h on-demand: two gave 0 of 1 machines (attempt 1): no"
    );
    assert_eq!(effects.last(), Some(&terminate(&[])));
}

#[test]
fn what_an_offer_gave_that_could_not_give_all_is_gone_before_the_next_is_asked() {
    let mut state = after(vec![born(), plan(two(2)), Heard::Prepared(Ok(()))]);
    let mut next = vec![
        provisioned(&[0], 2),
        spawn(0),
        refused("no", 1),
        Effect::DropNode { rank: Rank(0), attempt: Attempt(0) },
        release(0),
    ];
    next.extend(preparing(&two(2)[1]));
    let again = |rank| Effect::Spawn { rank: Rank(rank), attempt: Attempt(2), instance: instance(rank + 5) };
    check(
        &mut state,
        vec![
            (fails(1, &[0], ProviderErrorKind::OfferGone), next),
            (node_ready(0), vec![]),
            (node_gone(0, "stopped"), vec![]),
            (Heard::Released { instances: vec![instance(0)], result: Ok(()) }, vec![terminated(0)]),
            (Heard::Prepared(Ok(())), vec![announce(PoolPhase::Provisioning), ask(2, 2)]),
            (
                answer(2, &[5, 6], None),
                vec![
                    provisioned_as(&[(5, Some(0)), (6, Some(1))], 2),
                    announce(PoolPhase::Starting),
                    again(0),
                    again(1),
                ],
            ),
            (Heard::Stop, stopping_lives(&[(0, 2), (1, 2)])),
            (Heard::NodeGone { rank: Rank(0), attempt: Attempt(2), reason: "d".into(), retry: true }, vec![]),
            (
                Heard::NodeGone { rank: Rank(1), attempt: Attempt(2), reason: "d".into(), retry: true },
                vec![terminate(&[5, 6])],
            ),
        ],
    );
}

#[test]
fn mixed_specs_keep_what_there_is_and_ask_others_for_the_rest() {
    let mixed = |it: Candidate| Candidate { mixed: true, ..it };
    let candidates: Vec<Candidate> = two(2).into_iter().map(mixed).collect();
    let mut state = after(vec![born(), plan(candidates.clone()), Heard::Prepared(Ok(()))]);
    let mut next = vec![provisioned(&[0], 2), spawn(0), refused("no", 1)];
    next.extend(preparing(&candidates[1]));
    check(
        &mut state,
        vec![
            (fails(1, &[0], ProviderErrorKind::OfferGone), next),
            (Heard::Prepared(Ok(())), vec![announce(PoolPhase::Provisioning), ask(2, 1)]),
            (answer(2, &[1], None), vec![provisioned(&[1], 1), announce(PoolPhase::Starting), spawn(1)]),
        ],
    );
}

#[test]
fn a_cloud_that_cannot_be_set_up_is_left_for_the_next_and_undone_in_the_end() {
    let error = StartError::Prepare { provider: "one".into(), reason: "denied".into() };
    let mut stop = vec![Effect::Announce(EventKind::Pool(PoolPhase::Stopping))];
    stop.extend(stopping(&[]).split_off(1));
    stop.push(terminate(&[]));
    let left =
        |it: &str| Leftover { what: format!("what {it} set up for the pool"), reason: "denied".into() };
    check(
        &mut after(vec![born(), plan(two(1))]),
        vec![
            (Heard::Prepared(Err(error)), preparing(&two(1)[1])),
            (Heard::Stop, vec![]),
            (Heard::Prepared(Ok(())), stop),
            (Heard::Terminated(Ok(())), vec![Effect::Teardown]),
            (
                Heard::TornDown(Err("denied".into())),
                over(Some(StartError::Stopped), vec![left("one"), left("two")]),
            ),
        ],
    );
}

#[test]
fn a_running_pool_never_gives_back_what_works_for_a_rank_that_is_lost() {
    let mut state = after(vec![born(), plan(two(2)), Heard::Prepared(Ok(())), given(&[0, 1], None)]);
    for rank in 0..2 {
        state.hear(node_ready(rank), now(), &Timing::default());
    }
    check(
        &mut state,
        vec![
            (node_gone(1, "frozen"), vec![release(1), Effect::QueueGone { rank: Rank(1) }, ask(2, 1)]),
            (
                fails(2, &[], ProviderErrorKind::OfferGone),
                [
                    vec![refused("no", 1), Effect::QueueLost { rank: Rank(1) }],
                    fewer(2, "one gave 1 of 2 machines (attempt 1): no", 30).to_vec(),
                ]
                .concat(),
            ),
        ],
    );
}

/// A machine that is wanted again after a while, and what is rented for it.
fn missing(from: u32, to: u32, rank: u32) -> [Effect; 2] {
    let why = ScaledBecause::Missing;
    [Effect::Announce(EventKind::Scaled { from, to, why }), Effect::QueueWanted { rank: Rank(rank) }]
}

#[test]
fn a_fixed_pool_has_its_lost_rank_from_the_same_offer_in_either_market_and_begins_again_later() {
    let tariff = |market, hourly| Tariff { market, hourly, billing: Billing::default() };
    let stays = tariff(Market::OnDemand, usd!(3));
    let of = |it: &str| Candidate {
        tariff: tariff(Market::Spot, usd!(1)),
        otherwise: Some(stays),
        ..candidate(it, Nodes::from(2))
    };
    let mut state =
        after(vec![born(), plan(vec![of("one"), of("two")]), Heard::Prepared(Ok(())), given(&[0, 1], None)]);
    for rank in 0..2 {
        state.hear(node_ready(rank), now(), &Timing::default());
    }
    let set_up = |candidate: Candidate| {
        let Candidate { offer, tariff, .. } = candidate.clone();
        let provider = offer.provider.clone();
        let chosen = EventKind::Chosen { provider, offer: Box::new(offer), tariff, nodes: 2 };
        let candidate = Box::new(candidate);
        vec![Effect::Announce(chosen), Effect::Prepare { candidate, lease: Timing::default().lease }]
    };
    let none = |request| fails(request, &[], ProviderErrorKind::Quota);
    let on_demand = set_up(Candidate { tariff: stays, otherwise: None, ..of("one") });
    let lost = vec![refused("no", 1), Effect::QueueLost { rank: Rank(1) }];
    let told = fewer(2, "one gave 1 of 2 machines (attempt 1): no", 30);
    check(
        &mut state,
        vec![
            (node_gone(1, "frozen"), vec![release(1), Effect::QueueGone { rank: Rank(1) }, ask(2, 1)]),
            (none(2), [vec![refused("no", 1)], on_demand].concat()),
            (Heard::Prepared(Ok(())), vec![ask(3, 1)]),
            (none(3), [lost, told.to_vec()].concat()),
        ],
    );
    let later = state.hear(Heard::Woke(Timer::Scale), now() + Duration::from_secs(30), &Timing::default());
    assert_eq!(later, [missing(1, 2, 1).to_vec(), set_up(of("one"))].concat());
}

#[test]
fn a_pool_of_one_that_lost_its_machine_begins_its_list_again_later_and_less_and_less_often() {
    let mut state =
        after(vec![born(), plan(two(1)), Heard::Prepared(Ok(())), given(&[0], None), node_ready(0)]);
    state.hear(node_gone(0, "frozen"), now(), &Timing::default());
    let (mut asked, mut then) = (Vec::new(), Duration::ZERO);
    let mut effects = vec![ask(2, 1)];
    for _ in 0..200 {
        let mut next = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Prepare { candidate, .. } => {
                    asked.push((candidate.offer.provider.clone(), then.as_secs()));
                    next.push(Heard::Prepared(Ok(())));
                }
                Effect::Provision { request, .. } => {
                    next.push(fails(request.0, &[], ProviderErrorKind::OfferGone));
                }
                Effect::Wake(Timer::Scale, after) => {
                    then += *after;
                    next.push(Heard::Woke(Timer::Scale));
                }
                _ => {}
            }
        }
        effects = next.into_iter().flat_map(|it| state.hear(it, now() + then, &Timing::default())).collect();
    }
    let list = |seconds| ["one", "two"].map(|it| (it.to_owned(), seconds));
    let first =
        [vec![("two".to_owned(), 0)], list(30).to_vec(), list(60).to_vec(), list(120).to_vec()].concat();
    assert_eq!(asked.get(..first.len()), Some(&first[..]), "{asked:?}");
    let last = asked.windows(3).last().map(|it| it[2].1 - it[0].1);
    assert_eq!(last, Some(600), "{asked:?}");
}

/// D1 and D2 together, from the offers of two clouds to the machines of one.
#[test]
fn the_first_spec_is_rented_first_and_the_second_by_its_own_provider() {
    let wanted = Requirements::default();
    let offers =
        |provider, hourly| vec![Offer::of(provider, InstanceType::named("small"), Price::on_demand(hourly))];
    let (dear, cheap) = (offers("dear", usd!(5)), offers("cheap", usd!(1)));
    let asked = |provider, offers| Asked {
        provider,
        wanted: &wanted,
        nodes: Nodes::from(1),
        sized_disk: false,
        disk_gb_hour: None,
        offers: Ok(offers),
    };
    let terms = Terms { selection: crate::model::Selection::First, ..Terms::default() };
    let plan = rank(&[asked("dear", dear.as_slice()), asked("cheap", cheap.as_slice())], &terms);
    let specs: Vec<usize> = plan.candidates.iter().map(|it| it.spec).collect();
    assert_eq!(specs, [0, 1]);
    assert_eq!(tried(plan.candidates, ProviderErrorKind::Quota).0, ["dear on-demand", "cheap on-demand"]);
}

/// A pool of one machine at a dollar an hour, and what it may cost.
fn capped(cap: Usd) -> State {
    let mut state = State::new();
    for heard in [
        Heard::Born { limits: Limits { total: Some(cap), ..Limits::default() } },
        plan(vec![candidate("one", Nodes::from(1))]),
    ] {
        state.hear(heard, now(), &Timing::default());
    }
    state
}

#[test]
fn a_pool_that_cannot_pay_for_its_start_is_refused_and_rents_nothing() {
    let failure = StartError::Budget { projected: usd!(0.183611112), cap: usd!(0.10) };
    let mut effects = vec![announce(PoolPhase::Provisioning), failed(&failure)];
    effects.extend(stopping(&[]));
    effects.push(terminate(&[]));
    check(&mut capped(usd!(0.10)), vec![(Heard::Prepared(Ok(())), effects)]);
    assert_eq!(
        failure.to_string(),
        "max_total_cost is $0.10: starting the machines and giving them back may cost $0.183611112; raise it, or \
         shorten `Timing::boot` and `Timing::shutdown`"
    );
}

#[test]
fn a_pool_warns_at_four_fifths_ends_before_the_cap_and_rents_no_replacement_that_it_cannot_pay() {
    let (timing, hour) = (Timing::default(), Duration::from_secs(3600));
    let mut state = capped(usd!(1));
    for heard in [Heard::Prepared(Ok(())), given(&[0], None), node_ready(0)] {
        state.hear(heard, now(), &timing);
    }
    let later = |part: u32| now() + hour * part / 100;
    let mut other = state.clone();
    let low = state.hear(Heard::Woke(Timer::Budget), later(80), &timing);
    let (spent, cap) = (usd!(0.80), usd!(1));
    assert_eq!(low.first(), Some(&Effect::Announce(EventKind::BudgetLow { spent, cap })));
    let gone = |state: &mut State, part| state.hear(node_gone(0, "preempted"), later(part), &timing);
    assert!(gone(&mut other, 60).contains(&ask(2, 1)));
    let refused = gone(&mut state.clone(), 95);
    assert!(
        refused.iter().any(|it| matches!(it, Effect::Announce(EventKind::BudgetRefused { machines: 1, .. }))),
        "{refused:?}"
    );
    let ended = state.hear(Heard::Woke(Timer::Budget), later(97), &timing);
    let mut expected = vec![Effect::Announce(EventKind::BudgetSpent { spent: usd!(0.97), cap })];
    expected.extend(stopping(&[0]));
    assert_eq!(ended, expected);
}

#[test]
fn a_lease_is_cut_to_what_the_budget_allows() {
    let spec = Candidate { lease: Some(Duration::from_secs(86_400)), ..candidate("one", Nodes::from(1)) };
    let mut state = after(vec![Heard::Born { limits: Limits { total: Some(usd!(1)), ..Limits::default() } }]);
    let effects = state.hear(plan(vec![spec]), now(), &Timing::default());
    let lease = effects.iter().find_map(|it| match it {
        Effect::Prepare { lease, .. } => Some(*lease),
        _ => None,
    });
    assert_eq!(lease, Some(Duration::from_secs(180)));
}
