//! The schedule search: space, cost model, strategies, journal, tuning loop.
