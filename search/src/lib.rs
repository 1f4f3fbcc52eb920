//! The schedule search: which schedules are legal ([`space`]), how long they should take ([`cost_model`]), which to try
//! next ([`strategy`], [`learned`]) and what other searches taught
//! ([`lessons`]), what was tried ([`journal`]), the loop over all of it ([`mod@tune`]), how long a
//! trial may take ([`watch`]) and the processes that evaluate it ([`worker`]), and what is kept for the next time
//! ([`cache`]).
//!
//! With the feature `compile`: from an operator to a kernel (`compile`), and one trial on the whole road (`evaluate`).
//!
//! [`table`] and [`merit`] judge the cost model on measured kernels, [`replay`] the strategies on known times.

pub mod cache;
#[cfg(feature = "compile")]
pub mod compile;
pub mod cost_model;
#[cfg(feature = "compile")]
pub mod evaluate;
#[cfg(test)]
mod fixtures;
pub mod journal;
pub mod learned;
pub mod lessons;
pub mod merit;
pub mod replay;
pub mod space;
pub mod strategy;
pub mod table;
pub mod tune;
pub mod watch;
#[cfg(unix)]
pub mod worker;

/// Version of all code between an operator and its time: the package's, and a hash of the sources.
pub const CODE_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("ALCOP_CODE_HASH"));
