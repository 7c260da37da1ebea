//! The clouds, each against a server of ours that keeps its official contract. Nothing here leaves this
//! computer.

#[cfg(test)]
#[cfg(feature = "aws")]
mod aws;
#[cfg(test)]
mod backing;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod choosing;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod deleting;
#[cfg(test)]
mod digitalocean;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod graphql;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lambda;
#[cfg(test)]
mod live;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod many;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod reaping;
#[cfg(test)]
mod runpod;
#[cfg(test)]
mod server;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod table;
#[cfg(test)]
mod taken;
#[cfg(test)]
mod vastai;
#[cfg(test)]
mod vastai_market;
#[cfg(test)]
mod verda;
