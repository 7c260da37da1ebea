//! The clouds, each against a server of ours that keeps its official contract. Nothing here leaves this
//! computer.

#[cfg(test)]
mod http;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod server;
