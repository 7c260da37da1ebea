//! The functions that this program can run, gathered at start. Client and worker are the same
//! program, so they have the same registry; the hello of every link compares its hash all the same,
//! because a worker binary may be supplied by hand.

mod stream;

use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

use crate::model::FunctionId;
use crate::payload::Payload;

pub use stream::{
    BoxSource, Ending, Fault, Input, Inputs, Outlet, Put, RunIterator, Source, StartStream, Trouble,
};

/// One `#[skyward::function]`. Made by the macro, which submits it to `inventory`.
#[derive(Debug)]
pub struct Function {
    /// `module::path::name`.
    pub name: &'static str,
    /// `file:line:column` of its definition: two functions of one name in one module differ by it.
    pub place: &'static str,
    /// Its argument and return types as written.
    pub signature: &'static str,
    /// How to run it.
    pub body: Body,
}

inventory::collect!(Function);

/// How a function is run. Each takes the encoded arguments.
pub enum Body {
    /// An `async fn`: started where its frame was read.
    Async(fn(Bytes) -> Result<BoxFuture<'static, Answer>, String>),
    /// A plain `fn`: run on a thread that may block.
    Blocking(fn(Bytes) -> Result<Answer, String>),
    /// A function that returns a stream, or an `async fn` that takes some: its value is the one item then.
    Stream {
        /// How many streams it takes.
        inputs: usize,
        /// How it is started.
        start: StartStream,
    },
    /// A plain `fn` that returns an iterator, or takes streams: run on a thread that may block.
    Iterator {
        /// How many streams it takes.
        inputs: usize,
        /// How it is run.
        run: RunIterator,
    },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Async",
            Self::Blocking(_) => "Blocking",
            Self::Stream { .. } => "Stream",
            Self::Iterator { .. } => "Iterator",
        })
    }
}

/// What a function gave back, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its value.
    Returned(Payload),
    /// Its own error.
    Failed(Bytes),
    /// Its value or error could not be encoded, with the encoder's words.
    Unencodable(String),
}

/// All functions of this program, sorted.
#[derive(Debug)]
pub struct Registry {
    functions: Vec<&'static Function>,
    /// Where they are in memory, sorted: every call asks for a number, and names are long.
    places: Vec<(usize, FunctionId)>,
    hash: [u8; 32],
}

/// Two functions that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two functions are registered as `{name}` at {place}; rename one of them")]
pub struct DuplicateFunction {
    /// The shared name.
    pub name: &'static str,
    /// The shared place.
    pub place: &'static str,
}

impl Registry {
    /// The registry of this program, gathered on first use.
    ///
    /// # Errors
    /// When two functions cannot be told apart.
    pub fn global() -> Result<&'static Self, DuplicateFunction> {
        static REGISTRY: OnceLock<Result<Registry, DuplicateFunction>> = OnceLock::new();
        REGISTRY
            .get_or_init(|| Self::new(inventory::iter::<Function>().collect()))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn new(mut functions: Vec<&'static Function>) -> Result<Self, DuplicateFunction> {
        functions.sort_unstable_by_key(|it| (it.name, it.place));
        for pair in functions.windows(2) {
            if let [a, b] = pair
                && (a.name, a.place) == (b.name, b.place)
            {
                return Err(DuplicateFunction { name: a.name, place: a.place });
            }
        }
        let mut hasher = Sha256::new();
        for function in &functions {
            for part in [function.name, function.place, function.signature] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        let numbered = functions.iter().zip(0..).map(|(it, number)| (address(it), FunctionId(number)));
        let mut places: Vec<(usize, FunctionId)> = numbered.collect();
        places.sort_unstable();
        Ok(Self { hash: hasher.finalize().into(), places, functions })
    }

    /// The function with this id.
    pub fn get(&self, id: FunctionId) -> Option<&'static Function> {
        self.functions.get(usize::try_from(id.0).ok()?).copied()
    }

    /// How many functions there are.
    pub const fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The id of a function of this registry.
    pub fn id(&self, function: &Function) -> Option<FunctionId> {
        let place = address(function);
        if let Ok(at) = self.places.binary_search_by_key(&place, |(place, _)| *place) {
            return self.places.get(at).map(|(_, id)| *id);
        }
        // One that is equal, and elsewhere in memory.
        let key = (function.name, function.place);
        let at = self.functions.binary_search_by_key(&key, |it| (it.name, it.place)).ok()?;
        u32::try_from(at).ok().map(FunctionId)
    }

    /// SHA-256 over names, places and signatures.
    pub const fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

fn address(function: &Function) -> usize {
    std::ptr::from_ref(function).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: Function =
        Function { name: "a::one", place: "a.rs:1:1", signature: "fn()", body: Body::Blocking(nothing) };
    static TWO: Function =
        Function { name: "a::two", place: "a.rs:2:1", signature: "fn()", body: Body::Blocking(nothing) };
    static TWO_CHANGED: Function =
        Function { name: "a::two", place: "a.rs:2:1", signature: "fn(u8)", body: Body::Blocking(nothing) };

    fn nothing(_: Bytes) -> Result<Answer, String> {
        Ok(Answer::Returned(Payload::default()))
    }

    #[test]
    fn a_function_is_found_by_its_id_whatever_the_order_of_registration() {
        let registry = Registry::new(vec![&TWO, &ONE]).expect("distinct");
        let id = registry.id(&TWO).expect("registered");
        assert_eq!(registry.get(id).expect("found").name, "a::two");
        assert_eq!(registry.get(FunctionId(2)).map(|it| it.name), None);
        assert_eq!(registry.hash(), Registry::new(vec![&ONE, &TWO]).expect("distinct").hash());
    }

    #[test]
    fn a_changed_signature_changes_the_hash() {
        let before = Registry::new(vec![&ONE, &TWO]).expect("distinct").hash();
        let after = Registry::new(vec![&ONE, &TWO_CHANGED]).expect("distinct").hash();
        assert_ne!(before, after);
    }

    #[test]
    fn two_functions_of_one_name_and_place_are_refused() {
        let refused = Registry::new(vec![&TWO, &TWO_CHANGED]).expect_err("same key");
        assert_eq!(refused, DuplicateFunction { name: "a::two", place: "a.rs:2:1" });
    }
}
