//! The schedule search: which schedules are legal ([`space`]), how long they should take ([`cost_model`]), which to try
//! next ([`strategy`]), what was tried ([`journal`]), and the loop over all of it ([`tune`]).
//!
//! [`table`] and [`merit`] judge the cost model on measured kernels.

pub mod cost_model;
pub mod journal;
pub mod merit;
pub mod space;
pub mod strategy;
pub mod table;
pub mod tune;
