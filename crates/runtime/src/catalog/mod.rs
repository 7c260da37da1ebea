//! The catalog: what providers have for rent and what it costs, kept in one file of the user's cache.
//!
//! A provider's offers are replaced as a whole, with the moment at which they were read, so a reader
//! sees either all of the old ones or all of the new. Several processes share the file.
//!
//! provider → [`refresh`] → [`Catalog::replace`] → file → [`Catalog::offers`] → [`Query`] → [`Priced`]

mod error;
mod file;
mod filters;
mod place;
mod query;
mod read_only;
mod refresh;
mod row;
mod schema;
mod settings;
mod store;
mod summary;
#[cfg(test)]
mod tests;

pub use error::CatalogError;
pub use filters::Order;
pub use query::{Priced, Query};
pub use read_only::{Cell, Table};
pub use refresh::{RefreshError, refresh};
pub use settings::Settings;
pub use store::Catalog;
pub use summary::{Source, Summary};
