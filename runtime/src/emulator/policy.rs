//! Who steps next, and when a copy lands: the freedom that PTX leaves, as a policy.

use super::machine::{Effect, Machine};
use crate::random::split_mix;

/// When `cp.async` copies land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// At their issue; warps run in ascending order, each as far as it can.
    Earliest,
    /// In the wait that covers them (never, without one); warps run in descending order, each as far as it can.
    Latest,
    /// At moments that the seed decides, in pieces, younger copies before older ones; warps interleave likewise.
    Random,
}

impl Arrival {
    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Arrival::Earliest => "earliest",
            Arrival::Latest => "latest",
            Arrival::Random => "random",
        }
    }
}

impl std::str::FromStr for Arrival {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "earliest" => Ok(Arrival::Earliest),
            "latest" => Ok(Arrival::Latest),
            "random" => Ok(Arrival::Random),
            _ => Err(format!("unknown arrival {name:?}; known: earliest, latest, random")),
        }
    }
}

/// Drives a [`Machine`]: picks warps and lets copies land between steps.
pub trait Policy {
    /// The warp that steps next, out of the ready ones (bit w is warp w; never empty).
    fn next_warp(&mut self, ready: u32) -> usize;

    /// Called after each step of a warp: may let copies land.
    fn after_step(&mut self, machine: &mut Machine<'_>, warp: usize);
}

/// [`Arrival::Earliest`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Earliest;

impl Policy for Earliest {
    fn next_warp(&mut self, ready: u32) -> usize {
        ready.trailing_zeros() as usize
    }

    fn after_step(&mut self, machine: &mut Machine<'_>, warp: usize) {
        if matches!(machine.last_step().effect, Effect::AsyncCopy { .. }) {
            machine.land_all(warp);
        }
    }
}

/// [`Arrival::Latest`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Latest;

impl Policy for Latest {
    fn next_warp(&mut self, ready: u32) -> usize {
        31 - ready.leading_zeros() as usize
    }

    fn after_step(&mut self, _machine: &mut Machine<'_>, _warp: usize) {}
}

/// [`Arrival::Random`].
#[derive(Clone, Copy, Debug)]
pub struct Random {
    state: u64,
    warp: usize,
    /// Steps that the current warp still makes.
    turn: u32,
}

impl Random {
    /// The same seed gives the same execution.
    pub fn new(seed: u64) -> Self {
        Random {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            warp: 0,
            turn: 0,
        }
    }

    fn draw(&mut self) -> u64 {
        split_mix(&mut self.state)
    }
}

impl Policy for Random {
    fn next_warp(&mut self, ready: u32) -> usize {
        if self.turn == 0 || (ready >> self.warp) & 1 == 0 {
            let draw = self.draw();
            let mut rest = ready;
            for _ in 0..draw % u64::from(ready.count_ones().max(1)) {
                rest &= rest - 1;
            }
            self.warp = rest.trailing_zeros() as usize;
            // Mostly short turns; every eighth is long, so that one warp also runs far ahead.
            self.turn = if (draw >> 32).is_multiple_of(8) {
                4096
            } else {
                1 + (draw >> 40) as u32 % 64
            };
        }
        self.turn -= 1;
        self.warp
    }

    fn after_step(&mut self, machine: &mut Machine<'_>, warp: usize) {
        // One step in four something of this warp or of a random one lands.
        let draw = self.draw();
        if draw & 3 != 0 {
            return;
        }
        let chosen = if draw & 4 == 0 {
            warp
        } else {
            (draw >> 8) as usize % machine.warps()
        };
        let pending = machine.pending_copies(chosen);
        if pending == 0 {
            return;
        }
        let more = self.draw();
        let copy = (more >> 32) as usize % pending;
        if draw & 24 == 0 {
            machine.land_all(chosen);
        } else {
            machine.land(
                chosen,
                copy,
                (more >> 16) as usize & 3,
                more as u32 | (draw >> 32) as u32,
            );
        }
    }
}

impl Arrival {
    /// The policy for one block. Blocks draw from different seeds, whatever the order in which they run.
    pub fn policy(self, seed: u64, linear_block: u64) -> Box<dyn Policy> {
        match self {
            Arrival::Earliest => Box::new(Earliest),
            Arrival::Latest => Box::new(Latest),
            Arrival::Random => Box::new(Random::new(
                seed.wrapping_add(linear_block.wrapping_mul(0xd6e8_feb8_6659_fd93)),
            )),
        }
    }
}
