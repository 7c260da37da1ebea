//! The clouds behind one trait. Each lives in a module of its own; nothing outside it knows its name.

#[cfg(feature = "aws")]
pub mod aws;
pub mod cloud;
pub mod container;
pub mod digitalocean;
pub mod http;
pub mod lambda;
pub mod local;
pub mod runpod;
pub mod ssh;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vastai;
pub mod verda;
