//! Accelerators: what a machine has, what a spec asks for, and the models that there are.
//!
//! typed text, a cloud's spelling → spelling → [`Model`], one of [`accelerators`] → [`Accelerator`]

mod catalog;
mod count;
mod form;
mod geforce;
mod kind;
mod nearest;
mod nvidia;
mod others;
mod sold;
mod spelling;
mod workstation;

pub use catalog::{Model, accelerators};
pub use count::Count;
pub use form::{Cuda, Form, Manufacturer};
pub use kind::Accelerator;
pub use nearest::nearest;
pub use sold::Unsold;
