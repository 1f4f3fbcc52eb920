//! What the lanes of a warp do together: barriers, shuffles, votes.

use super::error::EmulatorError;
use super::execute::lanes;
use super::machine::{Effect, Machine};
use super::program::{Reg, ShuffleMode, Src, VoteMode, WarpScalar};
use super::registers::{Poison, any};

type Done = Result<(), EmulatorError>;

impl Machine<'_> {
    pub(super) fn barrier(
        &mut self,
        warp: usize,
        mask: u32,
        id: Src,
        threads: Option<Src>,
        aligned: bool,
        waits: bool,
    ) -> Done {
        if mask == 0 {
            return Ok(());
        }
        let lane = mask.trailing_zeros() as usize;
        self.fetch(warp, id, 0);
        let id = self.sources[0][lane];
        if id > 15 {
            let message = format!("barrier {id}: there are 16, numbered from 0");
            return Err(self.fault(warp, lane, message));
        }
        let expected = match threads {
            None => None,
            Some(source) => {
                self.fetch(warp, source, 0);
                let count = self.sources[0][lane];
                if count == 0 || !count.is_multiple_of(32) || count > 1024 {
                    let message = format!("a barrier for {count} threads: it must be a multiple of 32 up to 1024");
                    return Err(self.fault(warp, lane, message));
                }
                Some(count as u32)
            }
        };
        let live = self.warps[warp].live;
        let divergent = aligned && mask != live;
        self.step.effect = Effect::Barrier {
            id: id as u32,
            waits,
            divergent,
        };
        // Hardware counts a whole warp at an aligned barrier, however many of its lanes are there.
        self.arrive(warp, id as u32, expected, if aligned { live } else { mask }, waits);
        Ok(())
    }

    /// PTX ISA 9.0, 9.7.9.6 (`shfl.sync`): segment mask in bits 8 to 12 of c, clamp in bits 0 to 4.
    pub(super) fn shuffle(
        &mut self,
        warp: usize,
        mask: u32,
        mode: ShuffleMode,
        dst: Reg,
        in_range: Option<Reg>,
        src: &[Src; 3],
    ) {
        for (slot, source) in src.iter().enumerate() {
            self.fetch(warp, *source, slot);
        }
        let poison = self.poison_of(warp, src[0]);
        let control = any(&self.poison_of(warp, src[1])) | any(&self.poison_of(warp, src[2]));
        let (mut out, mut valid, mut undefined) = ([0; 32], 0u32, [control; 8]);
        for lane in 0..32u32 {
            let (b, c) = (
                self.sources[1][lane as usize] as u32 & 31,
                self.sources[2][lane as usize] as u32,
            );
            let (clamp, segment) = (c & 31, (c >> 8) & 31);
            let limit = (lane & segment) | (clamp & !segment);
            let low = lane & segment;
            let (from, inside) = match mode {
                ShuffleMode::Up => (lane.wrapping_sub(b), lane.wrapping_sub(b) as i32 >= limit as i32),
                ShuffleMode::Down => (lane + b, lane + b <= limit),
                ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= limit),
                ShuffleMode::Index => (low | (b & !segment), (low | (b & !segment)) <= limit),
            };
            let from = if inside { from & 31 } else { lane };
            out[lane as usize] = self.sources[0][from as usize];
            valid |= u32::from(inside) << lane;
            // What a lane holds that does not take part is undefined (PTX ISA: "unpredictable").
            let absent = (mask >> from) & 1 == 0;
            for (row, bytes) in undefined.iter_mut().zip(poison) {
                *row |= (((bytes >> from) & 1) | u32::from(absent)) << lane;
            }
        }
        self.finish(warp, dst, mask, &out, &undefined);
        if let Some(Reg::Pred(index)) = in_range {
            let registers = &mut self.warps[warp].registers;
            registers.write_predicate(index, mask, valid);
            registers.set_poison(Reg::Pred(index), mask, &[control, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
    /// The member mask of each executing lane goes to `self.sources[3]`: groups with masks of their own may execute one
    /// instruction together. Convergence has checked it already.
    fn groups(&mut self, warp: usize, mask: u32) -> [u32; 32] {
        let program = self.program;
        let members = program
            .code
            .get(self.step.pc as usize)
            .and_then(|instr| instr.op.members());
        match members {
            Some(members) => {
                self.fetch(warp, members.0, 3);
                std::array::from_fn(|lane| self.sources[3][lane] as u32 & mask)
            }
            None => [mask; 32],
        }
    }

    /// PTX ISA 9.0, 9.7.13.9 (`vote.sync`).
    pub(super) fn vote(&mut self, warp: usize, mask: u32, mode: VoteMode, dst: Reg, src: Src, negated: bool) {
        self.fetch(warp, src, 0);
        let votes = self.lane_bits(0, negated);
        let poison = any(&self.poison_of(warp, src));
        let groups = self.groups(warp, mask);
        let (mut out, mut undefined) = ([0; 32], 0);
        for lane in lanes(mask) {
            let group = groups[lane];
            let own = votes & group;
            out[lane] = match mode {
                VoteMode::All => u64::from(own == group),
                VoteMode::Any => u64::from(own != 0),
                VoteMode::Uniform => u64::from(own == 0 || own == group),
                VoteMode::Ballot => u64::from(own),
            };
            undefined |= u32::from(poison & group != 0) << lane;
        }
        self.finish(warp, dst, mask, &out, &[undefined; 8]);
    }

    /// PTX ISA 9.0, 9.7.13.10 (`match.sync`).
    pub(super) fn match_lanes(
        &mut self,
        warp: usize,
        mask: u32,
        all: bool,
        dst: Reg,
        predicate: Option<Reg>,
        src: Src,
    ) {
        self.fetch(warp, src, 0);
        let poison = any(&self.poison_of(warp, src));
        let groups = self.groups(warp, mask);
        let (mut out, mut same, mut undefined) = ([0; 32], [0; 32], 0);
        for lane in lanes(mask) {
            let group = groups[lane];
            let value = self.sources[0][lane];
            let equal = lanes(group).fold(0u32, |set, other| {
                set | (u32::from(self.sources[0][other] == value) << other)
            });
            out[lane] = u64::from(match (all, equal == group) {
                (false, _) => equal,
                (true, true) => group,
                (true, false) => 0,
            });
            same[lane] = u64::from(equal == group);
            undefined |= u32::from(poison & group != 0) << lane;
        }
        self.finish(warp, dst, mask, &out, &[undefined; 8]);
        if let Some(predicate) = predicate {
            self.finish(warp, predicate, mask, &same, &[undefined; 8]);
        }
    }

    /// PTX ISA 9.0, 9.7.13.12 (`redux.sync`).
    pub(super) fn redux(&mut self, warp: usize, mask: u32, function: WarpScalar, dst: Reg, src: Src) {
        self.fetch(warp, src, 0);
        let poison: Poison = self.poison_of(warp, src);
        let groups = self.groups(warp, mask);
        let (mut out, mut undefined) = ([0; 32], 0);
        for lane in lanes(mask) {
            let values = lanes(groups[lane]).map(|other| self.sources[0][other]);
            out[lane] = values.reduce(function).unwrap_or(0);
            undefined |= u32::from(any(&poison) & groups[lane] != 0) << lane;
        }
        self.finish(warp, dst, mask, &out, &[undefined; 8]);
    }
}
