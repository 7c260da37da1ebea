//! Tests of who has what from whom.

use super::*;

fn name(number: usize) -> Incarnation {
    Incarnation::new(format!("n{number:02}"))
}

fn node(number: usize) -> Source {
    Source::Node(name(number))
}

/// What a row of nodes is told that ask one after the other.
fn asked(tree: &mut Tree, nodes: std::ops::Range<usize>, width: usize) -> Vec<Source> {
    nodes.map(|it| tree.ask(&name(it), None, width, false)).collect()
}

#[test]
fn in_a_row_each_node_has_it_from_the_one_before() {
    let mut tree = Tree::default();
    assert_eq!(asked(&mut tree, 0..4, 1), [Source::Client, node(0), node(1), node(2)]);
}

#[test]
fn in_a_tree_of_twos_the_places_nearest_to_the_client_are_taken_first() {
    let mut tree = Tree::default();
    let expected = [Source::Client, node(0), node(0), node(1), node(2), node(1), node(2)];
    assert_eq!(asked(&mut tree, 0..7, 2), expected);
}

#[test]
fn what_has_more_chunks_than_there_are_nodes_goes_in_a_row() {
    for (chunks, nodes, expected) in [(256, 16, 1), (16, 16, 1), (4, 16, 2), (1024, 2000, 2)] {
        assert_eq!(width(chunks, nodes), expected, "{chunks} chunks to {nodes} nodes");
    }
}

#[test]
fn a_node_that_comes_later_has_it_from_one_that_has_all_of_it() {
    let mut tree = Tree::default();
    asked(&mut tree, 0..3, 1);
    assert_eq!(tree.whole(&name(0)), Some(Source::Client));
    assert_eq!(tree.whole(&name(1)), Some(node(0)));
    assert_eq!(asked(&mut tree, 3..5, 1), [node(0), node(2)]);
}

#[test]
fn who_is_below_a_node_that_goes_asks_another_and_never_one_below_itself() {
    let mut tree = Tree::default();
    asked(&mut tree, 0..4, 1);
    tree.gone(&name(1));
    // 3 is below 2, and 0 has nobody below it any more.
    assert_eq!(tree.ask(&name(2), Some(Fault::Stopped), 1, false), node(0));
    assert_eq!(tree.nodes.get(&name(3)).and_then(|it| it.source.clone()), Some(node(2)));
    tree.gone(&name(0));
    assert_eq!(tree.ask(&name(2), Some(Fault::Stopped), 1, false), Source::Client);
}

#[test]
fn after_two_nodes_in_vain_the_client_is_asked() {
    let mut tree = Tree::default();
    asked(&mut tree, 0..3, 2);
    tree.whole(&name(0));
    tree.whole(&name(1));
    tree.whole(&name(2));
    let one = tree.ask(&name(3), None, 2, false);
    let two = tree.ask(&name(3), Some(Fault::Unreachable), 2, false);
    assert_eq!([one, two], [node(0), node(1)]);
    assert_eq!(tree.ask(&name(3), Some(Fault::Unreachable), 2, false), Source::Client);
    assert_eq!(tree.ask(&name(4), None, 2, true), Source::Client, "who is alone asks nobody else");
}

#[test]
fn a_node_that_one_could_not_have_it_from_is_the_last_that_others_ask() {
    let mut tree = Tree::default();
    asked(&mut tree, 0..2, 1);
    assert_eq!(tree.ask(&name(1), Some(Fault::Unreachable), 1, false), Source::Client);
    assert_eq!(asked(&mut tree, 2..4, 1), [node(1), node(2)]);
}

#[test]
fn nobody_asks_a_node_again_that_gave_something_else() {
    let mut tree = Tree::default();
    asked(&mut tree, 0..2, 2);
    assert_eq!(tree.ask(&name(1), Some(Fault::Lied), 2, false), Source::Client);
    assert_eq!(tree.ask(&name(2), None, 2, false), node(1));
}

#[test]
fn no_node_is_ever_above_itself_nor_has_too_many_below_it_whatever_fails() {
    let mut dice = 7_u64;
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % sides
    };
    let mut tree = Tree::default();
    for _ in 0..20_000 {
        let one = name(roll(12));
        match roll(8) {
            0 => tree.gone(&one),
            1 | 2 => drop(tree.whole(&one)),
            3 => drop(tree.ask(&one, Some(Fault::Stopped), 2, false)),
            4 => drop(tree.ask(&one, Some(Fault::Unreachable), 2, false)),
            _ => drop(tree.ask(&one, None, 1 + roll(2), false)),
        }
        for name in tree.nodes.keys() {
            assert!(!tree.is_below(name, name), "{name} is above itself: {tree:?}");
            assert!(tree.below(name).count() <= WIDEST, "{tree:?}");
        }
    }
}

#[test]
fn nodes_that_never_reached_each_other_stop_to_try_for_a_while() {
    let (mut reach, now) = (Reach::default(), Instant::now());
    (0..9).for_each(|_| reach.failed(&name(0), now));
    assert!(!reach.is_in_vain(now), "one that nobody reaches says nothing of the others");
    (1..FAILURES).for_each(|it| reach.failed(&name(it), now));
    assert!(reach.is_in_vain(now));
    assert!(!reach.is_in_vain(now + REMEMBERED), "the network may have been mended");
    reach.left(&name(0));
    assert!(!reach.is_in_vain(now), "who is gone is not counted");
    reach.failed(&name(0), now);
    reach.reached();
    assert!(!reach.is_in_vain(now));
}

/// A row of four, in which everything comes at once to the first, and `slow` chunks in a second to the others.
fn row(slow: u32) -> (Tree, Instant) {
    let (mut tree, began) = (Tree::default(), Instant::now());
    asked(&mut tree, 0..4, 1);
    for second in 0..=3 {
        for node in 0..4 {
            let chunks = if node == 0 { 20 * second } else { slow * second };
            tree.at(&name(node), chunks, began + Duration::from_secs(second.into()));
        }
    }
    (tree, began + JUDGED)
}

#[test]
fn who_is_behind_a_slow_node_goes_round_it() {
    let (mut tree, now) = row(1);
    assert_eq!(tree.faster(&name(1), now), None, "all others have it by way of this one");
    assert_eq!(tree.faster(&name(2), now), Some(name(0)));
    assert_eq!(tree.source(&name(2)), Some(&node(0)));
    assert_eq!(tree.faster(&name(3), now), None, "no more than two are below one node");
    assert_eq!(tree.faster(&name(0), now), None, "the client is the only one that has more");
}

#[test]
fn nobody_is_moved_who_is_nearly_as_fast_or_was_not_looked_at_for_long() {
    let (mut tree, now) = row(6);
    assert_eq!(tree.faster(&name(2), now), None);
    let (mut tree, now) = row(1);
    assert_eq!(tree.faster(&name(2), now - Duration::from_secs(1)), None);
    assert!(tree.faster(&name(2), now).is_some());
    assert_eq!(tree.faster(&name(2), now + Duration::from_secs(1)), None, "it is given time there");
}

#[test]
fn a_node_that_is_slow_itself_is_moved_so_often_and_no_more() {
    let (mut tree, began) = (Tree::default(), Instant::now());
    asked(&mut tree, 0..3, 2);
    let seconds = |it: u32| began + Duration::from_secs(it.into());
    let mut moves = 0;
    for second in 0..60 {
        for fast in 0..2 {
            tree.at(&name(fast), (20 * second).min(200), seconds(second));
        }
        tree.at(&name(2), second / 8, seconds(second));
        moves += usize::from(tree.faster(&name(2), seconds(second)).is_some());
    }
    assert_eq!(moves, MOVES);
}
