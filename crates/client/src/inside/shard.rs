//! A node's share of data that every node has: the same decision on each node, without a word between
//! them.

use skyward_runtime::inside;

use super::twister::Twister;

/// This node's share of the data: every `n`-th item of `n` nodes, beginning with the node's own place.
/// The shares of all nodes together are all items, each once; they differ in length by one at most.
/// [`Shard`] has more to choose from.
///
/// The nodes are those that the pool has at this moment. Outside of a worker, as in `.local()` calls,
/// there is one, and its share is everything.
///
/// ```
/// #[skyward::function]
/// async fn sum(data: Vec<u64>) -> u64 {
///     skyward::shard(&data).iter().sum()
/// }
///
/// #[skyward::main]
/// async fn main() -> skyward::Result<()> {
///     assert_eq!(sum(vec![1, 2, 3]).local().await?, 6);
///     Ok(())
/// }
/// ```
pub fn shard<T: Clone>(data: &[T]) -> Vec<T> {
    taken(data, Shard::new().chosen(data.len(), inside::place()))
}

/// How data is shared out among the nodes of a pool. What the default is, is said at [`shard`].
///
/// All nodes must choose the same and have the same data, and the pool the same nodes while they
/// choose: when nodes may join or be lost meanwhile, give each call its place by [`node`](Self::node).
///
/// ```
/// use skyward::Shard;
///
/// # fn main() -> Result<(), skyward::ShardError> {
/// let (xs, ys) = (["a", "b", "c", "d", "e"], vec![0, 1, 2, 3, 4]);
/// // What node 1 of 2 gets; without `.node(…)` it is for the node where this runs.
/// assert_eq!(Shard::new().node(1, 2).of(&xs)?, ["b", "d"]);
/// assert_eq!(Shard::new().node(1, 2).drop_last().of((&xs, &ys))?, (vec!["c", "d"], vec![2, 3]));
/// assert_eq!(Shard::new().node(1, 2).shuffle(42).of((&xs, &ys))?, (vec!["b", "e"], vec![1, 4]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a shard is of something: `.of(&data)`"]
pub struct Shard {
    seed: Option<u64>,
    drop_last: bool,
    node: Option<(usize, usize)>,
}

/// Why there is no share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardError {
    /// Data that belong together have different lengths.
    Unequal {
        /// The lengths.
        lengths: Vec<usize>,
    },
    /// There is no such node.
    Node {
        /// The place that was asked for.
        node: usize,
        /// Of how many.
        nodes: usize,
    },
}

impl Shard {
    /// The default.
    pub const fn new() -> Self {
        Self { seed: None, drop_last: false, node: None }
    }

    /// Shuffles before sharing out, in the same way on every node: as `random.Random(seed).shuffle` of
    /// Python does, to the bit. Default: the order of the data.
    pub const fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Gives every node equally many items, next to each other, and leaves out what remains at the end:
    /// of `length` items on `n` nodes the node in place `i` has those from `i * (length / n)` on.
    /// Default: every `n`-th, and nothing is left out.
    pub const fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// The share of the node in this place, from 0, of so many. Default: this node's, of those that the
    /// pool has now.
    pub const fn node(mut self, node: usize, nodes: usize) -> Self {
        self.node = Some((node, nodes));
        self
    }

    /// The share of one slice, array or `Vec`, or of two to four that belong together, as a tuple: then
    /// the items of the shares do, too.
    ///
    /// # Errors
    /// When the lengths differ, or [`node`](Self::node) was given a place that there is not.
    pub fn of<D: Shardable>(self, data: D) -> Result<D::Shard, ShardError> {
        let lengths = data.lengths();
        let length = lengths.first().copied().unwrap_or_default();
        if lengths.iter().any(|it| *it != length) {
            return Err(ShardError::Unequal { lengths });
        }
        Ok(data.take(&self.indices(length)?))
    }

    /// Which of so many items are in the share, in its order; for data of other types.
    ///
    /// # Errors
    /// When [`node`](Self::node) was given a place that there is not.
    pub fn indices(self, length: usize) -> Result<Vec<usize>, ShardError> {
        let (node, nodes) = self.node.unwrap_or_else(inside::place);
        if node >= nodes {
            return Err(ShardError::Node { node, nodes });
        }
        Ok(self.chosen(length, (node, nodes)))
    }

    /// The pure part: `node` is below `nodes`.
    fn chosen(self, length: usize, (node, nodes): (usize, usize)) -> Vec<usize> {
        let mut all: Vec<usize> = (0..length).collect();
        if let Some(seed) = self.seed {
            Twister::new(seed).shuffle(&mut all);
        }
        if self.drop_last {
            let each = length / nodes;
            all.into_iter().skip(node * each).take(each).collect()
        } else {
            all.into_iter().skip(node).step_by(nodes).collect()
        }
    }
}

/// Data in a row: a slice, an array, a `Vec`. Skyward's own; nothing else can implement it.
pub trait Column: sealed::Sealed {
    /// What is in the row.
    type Item: Clone;

    #[doc(hidden)]
    fn rows(&self) -> &[Self::Item];
}

/// What can be shared out: one [`Column`], or two to four as a tuple. Skyward's own; nothing else can
/// implement it.
pub trait Shardable: sealed::Sealed {
    /// A share of it: a `Vec`, or a tuple of them.
    type Shard;

    #[doc(hidden)]
    fn lengths(&self) -> Vec<usize>;

    #[doc(hidden)]
    fn take(&self, chosen: &[usize]) -> Self::Shard;
}

#[expect(unnameable_types, reason = "a seal is there to be unnameable")]
mod sealed {
    pub trait Sealed {}
}

macro_rules! column {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> sealed::Sealed for $type {}

        impl<$($generics)*> Column for $type {
            type Item = T;

            fn rows(&self) -> &[T] {
                &self[..]
            }
        }

        impl<$($generics)*> Shardable for $type {
            type Shard = Vec<T>;

            fn lengths(&self) -> Vec<usize> {
                vec![self.len()]
            }

            fn take(&self, chosen: &[usize]) -> Vec<T> {
                taken(self.rows(), chosen.iter().copied())
            }
        }
    };
}

column!([T: Clone] &[T]);
column!([T: Clone] &Vec<T>);
column!([T: Clone, const N: usize] &[T; N]);

macro_rules! columns {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Column),+> sealed::Sealed for ($($name,)+) {}

        impl<$($name: Column),+> Shardable for ($($name,)+) {
            type Shard = ($(Vec<$name::Item>,)+);

            fn lengths(&self) -> Vec<usize> {
                vec![$(self.$at.rows().len()),+]
            }

            fn take(&self, chosen: &[usize]) -> Self::Shard {
                ($(taken(self.$at.rows(), chosen.iter().copied()),)+)
            }
        }
    };
}

columns!(A 0, B 1);
columns!(A 0, B 1, C 2);
columns!(A 0, B 1, C 2, D 3);

/// The chosen items; every index is one of theirs.
fn taken<T: Clone>(items: &[T], chosen: impl IntoIterator<Item = usize>) -> Vec<T> {
    chosen.into_iter().filter_map(|it| items.get(it).cloned()).collect()
}

impl std::fmt::Display for ShardError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unequal { lengths } => {
                write!(f, "data of different lengths ({lengths:?}) cannot be shared out together")
            }
            Self::Node { node, nodes } => {
                write!(f, "there is no node {node} among {nodes} to share out to; places count from 0")
            }
        }
    }
}

impl std::error::Error for ShardError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_those_of_python() {
        let plain = Shard::new();
        for (how, length, node, nodes, expected) in [
            (plain, 5, 0, 2, vec![0, 2, 4]),
            (plain, 5, 1, 2, vec![1, 3]),
            (plain, 2, 2, 3, vec![]),
            (plain, 0, 0, 1, vec![]),
            (plain.drop_last(), 5, 0, 2, vec![0, 1]),
            (plain.drop_last(), 5, 1, 2, vec![2, 3]),
            (plain.drop_last(), 2, 0, 3, vec![]),
            // random.Random(42).shuffle(list(range(10))) is [7, 3, 2, 8, 5, 6, 9, 4, 0, 1].
            (plain.shuffle(42), 10, 1, 3, vec![3, 5, 4]),
            (plain.shuffle(42).drop_last(), 10, 1, 3, vec![8, 5, 6]),
        ] {
            assert_eq!(how.node(node, nodes).indices(length), Ok(expected), "{how:?} {node}/{nodes}");
        }
    }

    #[test]
    fn what_cannot_be_shared_out_is_an_error() {
        let unequal = Shard::new().of((&[1, 2], &vec![1]));
        assert_eq!(unequal, Err(ShardError::Unequal { lengths: vec![2, 1] }));
        for (node, nodes) in [(0, 0), (2, 2)] {
            let none = Shard::new().node(node, nodes).of(&[1]);
            assert_eq!(none, Err(ShardError::Node { node, nodes }));
        }
    }

    #[test]
    fn outside_of_a_worker_the_share_is_everything() {
        assert_eq!(shard(&[1, 2, 3]), [1, 2, 3]);
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(Shard::new().of(&names[..]), Ok(names.to_vec()));
    }

    proptest! {
        #[test]
        fn the_shares_of_all_nodes_are_all_items_once(
            length in 0_usize..200, nodes in 1_usize..9, seed: Option<u64>,
        ) {
            let how = seed.map_or(Shard::new(), |it| Shard::new().shuffle(it));
            let shares: Vec<_> =
                (0..nodes).map(|it| how.node(it, nodes).indices(length).expect("there is")).collect();
            let (shortest, longest) =
                (shares.iter().map(Vec::len).min(), shares.iter().map(Vec::len).max());
            prop_assert!(longest.unwrap_or_default() - shortest.unwrap_or_default() <= 1);
            let mut all = shares.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..length).collect::<Vec<_>>());
        }

        #[test]
        fn with_drop_last_shares_are_equal_and_have_nothing_in_common(
            length in 0_usize..200, nodes in 1_usize..9, seed: u64,
        ) {
            let how = Shard::new().drop_last().shuffle(seed);
            let shares: Vec<_> =
                (0..nodes).map(|it| how.node(it, nodes).indices(length).expect("there is")).collect();
            prop_assert!(shares.iter().all(|it| it.len() == length / nodes));
            let mut all = shares.concat();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), length / nodes * nodes);
        }

        #[test]
        fn what_belongs_together_stays_together(
            xs in proptest::collection::vec(any::<u32>(), 0..100), nodes in 1_usize..5, seed: u64,
        ) {
            let ys: Vec<_> = xs.iter().map(|it| u64::from(*it) * 3).collect();
            let zs: Vec<_> = xs.iter().map(ToString::to_string).collect();
            for node in 0..nodes {
                let (x, y, z, again) = Shard::new()
                    .shuffle(seed)
                    .node(node, nodes)
                    .of((&xs, &ys[..], &zs, &xs))
                    .expect("equally long");
                prop_assert!(x.iter().zip(&y).all(|(x, y)| u64::from(*x) * 3 == *y));
                prop_assert!(x.iter().zip(&z).all(|(x, z)| x.to_string() == *z));
                prop_assert_eq!(x, again);
            }
        }
    }
}
