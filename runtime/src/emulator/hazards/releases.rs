//! What blocks have published to each other through global memory, and what a block has come to know by it.
//!
//! ```text
//! block 0: fence; atom [x]     x -> release (0, epoch 1)
//! block 1: atom [x]; fence     block 1 knows x; x -> release (1, epoch 1), behind it all that block 1 knows, and (0, 1)
//! ```
//! Knowledge is a graph that only grows: a release points to what stood at its address and to what its block knew. To
//! learn is to point at it. Only where two blocks meet in the same bytes is it searched, so that a chain of releases
//! through all blocks (a counter that each one increments) costs each of them the same.

use std::collections::{BinaryHeap, HashMap, HashSet};

/// Something known, by number; 0: nothing.
pub(super) type Knowledge = u32;

/// A release of a block, or the join of two pieces of knowledge.
#[derive(Clone, Copy, Debug)]
struct Node {
    release: Option<(u32, u32)>,
    before: [Knowledge; 2],
}

/// The releases of a launch.
#[derive(Debug, Default)]
pub(super) struct Releases {
    nodes: Vec<Node>,
    /// The first node of each block. Blocks that order themselves run one after the other, so that all nodes of later
    /// blocks have higher numbers.
    first: HashMap<u32, Knowledge>,
    /// What stands at each address.
    locations: HashMap<u64, Knowledge>,
}

impl Releases {
    fn push(&mut self, block: u32, node: Node) -> Knowledge {
        self.nodes.push(node);
        let number = self.nodes.len() as Knowledge;
        self.first.entry(block).or_insert(number);
        number
    }

    fn node(&self, number: Knowledge) -> Option<&Node> {
        self.nodes.get((number as usize).checked_sub(1)?)
    }

    /// What has been released at an address.
    pub(super) fn at(&self, address: u64) -> Knowledge {
        self.locations.get(&address).copied().unwrap_or(0)
    }

    /// A block that knows `known` learns `news`.
    pub(super) fn join(&mut self, block: u32, known: Knowledge, news: Knowledge) -> Knowledge {
        match (known, news) {
            (same, other) if same == other => same,
            (0, one) | (one, 0) => one,
            before => self.push(
                block,
                Node {
                    release: None,
                    before: before.into(),
                },
            ),
        }
    }

    /// A block publishes its first `epoch` releases at an address, and with them what it knows.
    pub(super) fn publish(&mut self, block: u32, address: u64, epoch: u32, known: Knowledge) {
        let old = self.at(address);
        let mut before = old;
        if let Some(node) = self.node(old)
            && let Some((last, last_epoch)) = node.release
            && last == block
        {
            if (last_epoch, node.before[1]) == (epoch, known) {
                return;
            }
            // A block's later release covers its earlier ones.
            before = node.before[0];
        }
        let node = Node {
            release: Some((block, epoch)),
            before: [before, known],
        };
        let number = self.push(block, node);
        self.locations.insert(address, number);
    }
}

/// Searches from what blocks know; remembers how far it has come.
#[derive(Debug, Default)]
pub(super) struct Search {
    from: HashMap<Knowledge, Reached>,
}

#[derive(Debug, Default)]
struct Reached {
    /// Nodes whose own past was not looked at, newest first.
    open: BinaryHeap<Knowledge>,
    seen: HashSet<Knowledge>,
    epochs: HashMap<u32, u32>,
}

impl Search {
    /// How many releases of a block are known, if any.
    pub(super) fn known(&mut self, releases: &Releases, known: Knowledge, block: u32) -> Option<u32> {
        let first = *releases.first.get(&block)?;
        let reached = self.from.entry(known).or_insert_with(|| Reached {
            open: BinaryHeap::from([known]),
            ..Reached::default()
        });
        // What is older than the block's first release cannot lead to it.
        while reached.open.peek().is_some_and(|number| *number >= first) {
            let Some(node) = reached.open.pop().and_then(|number| releases.node(number)) else {
                continue;
            };
            if let Some((released, epoch)) = node.release {
                let all = reached.epochs.entry(released).or_default();
                *all = (*all).max(epoch);
            }
            for before in node.before {
                if before != 0 && reached.seen.insert(before) {
                    reached.open.push(before);
                }
            }
        }
        reached.epochs.get(&block).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knowledge_passes_through_chains_and_not_back() {
        let mut releases = Releases::default();
        releases.publish(0, 0x100, 1, 0);
        let learned = releases.at(0x100);
        releases.publish(1, 0x200, 3, learned);
        releases.publish(1, 0x200, 4, learned);
        let both = releases.join(2, releases.at(0x200), 0);
        let mut search = Search::default();
        assert_eq!(search.known(&releases, both, 0), Some(1), "through block 1");
        assert_eq!(search.known(&releases, both, 1), Some(4));
        assert_eq!(search.known(&releases, both, 2), None);
        assert_eq!(
            search.known(&releases, learned, 1),
            None,
            "block 0's release came before"
        );
        assert_eq!(search.known(&releases, 0, 0), None);
        releases.publish(2, 0x100, 1, both);
        assert_eq!(search.known(&releases, releases.at(0x100), 0), Some(1));
        assert_eq!(search.known(&releases, releases.at(0x100), 1), Some(4));
    }

    #[test]
    fn a_counter_of_all_blocks_costs_each_the_same() {
        let (mut releases, mut known) = (Releases::default(), 0);
        for block in 0..1000 {
            known = releases.join(block, 0, releases.at(0x100));
            releases.publish(block, 0x100, 1, known);
            releases.publish(block, 0x100, 1, known);
        }
        assert_eq!(releases.nodes.len(), 1000, "one node a block");
        let mut search = Search::default();
        assert_eq!(search.known(&releases, known, 998), Some(1));
        assert!(search.from[&known].seen.len() < 8, "the newest is near");
        assert_eq!(search.known(&releases, known, 0), Some(1));
        assert_eq!(search.known(&releases, known, 999), None);
    }
}
