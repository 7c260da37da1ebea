//! Every id has its own type, so that one cannot be passed where another is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $number);

        impl $name {
            /// The next number.
            ///
            /// # Panics
            /// Never: the count wraps, which at one a nanosecond takes centuries for 64 bits.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_id! {
    /// One pool: the machines of one `Compute`. Lower-case letters and digits, so that it can be
    /// part of a tag, a host name or a folder on every cloud.
    PoolId
}
text_id! {
    /// What a cloud calls one of its machines.
    InstanceId
}
text_id! {
    /// One life of one worker process. A restarted worker has another incarnation, so nothing that
    /// was meant for the old one can reach it.
    Incarnation
}
text_id! {
    /// What tells the key of an account at a cloud from others: the beginning of its hash. It is written down with
    /// what the key rented, and gives nothing of the key away.
    KeyPrint
}
number_id! {
    /// A node's place in its pool, from 0. Rank 0 is the head.
    Rank(u32)
}
number_id! {
    /// One task of one pool.
    TaskId(u64)
}
number_id! {
    /// One life of a rank, or one try of a task. Answers of an older attempt are dropped.
    Attempt(u32)
}
number_id! {
    /// One ownership of a pool. Workers refuse an owner with an older epoch.
    Epoch(u64)
}
number_id! {
    /// A function's place in the sorted registry. Valid between programs whose registries have the
    /// same hash, which the hello of every link checks.
    FunctionId(u32)
}
