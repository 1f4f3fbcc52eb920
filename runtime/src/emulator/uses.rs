//! The registers that each operation reads and writes, for liveness, issue and dependences.

use smallvec::SmallVec;

use super::program::{Op, Reg, Src};

/// The registers that an operation reads and writes.
pub(super) fn registers_of(op: &Op, reads: &mut SmallVec<[Reg; 6]>, writes: &mut SmallVec<[Reg; 4]>) {
    let mut read = |sources: &[Src]| {
        for source in sources {
            if let Src::Reg(reg) = source {
                reads.push(*reg);
            }
        }
    };
    match op {
        Op::Map { dst, src, .. } => {
            read(src);
            writes.push(*dst);
        }
        Op::MapCarry { dst, out, src, .. } => {
            read(src);
            writes.extend(dst.iter().copied());
            writes.push(*out);
        }
        Op::Convert { dst, src, .. } => {
            read(&[*src]);
            writes.push(*dst);
        }
        Op::ConvertPair { dst, src, .. } => {
            read(src);
            writes.push(*dst);
        }
        Op::SetPredicate {
            combine,
            dst,
            complement,
            src,
            ..
        } => {
            read(src);
            if let Some((_, with, _)) = combine {
                read(&[*with]);
            }
            writes.extend(dst.iter().chain(complement).copied());
        }
        Op::LogicTest {
            dst,
            predicate,
            src,
            combine,
            ..
        } => {
            read(src);
            if let Some((_, with, _)) = combine {
                read(&[*with]);
            }
            writes.extend(dst.iter().chain(predicate).copied());
        }
        Op::TransposeMatrix { dst, src } => {
            read(&[*src]);
            writes.push(*dst);
        }
        Op::Set { combine, dst, src, .. } => {
            read(src);
            if let Some((_, with, _)) = combine {
                read(&[*with]);
            }
            writes.push(*dst);
        }
        Op::Pack { dst, parts, .. } => {
            read(parts);
            writes.push(*dst);
        }
        Op::Unpack { dsts, src, .. } => {
            read(&[*src]);
            writes.extend(dsts.iter().flatten().copied());
        }
        Op::Load { addr, dsts, .. } | Op::LoadMatrix { addr, dsts, .. } => {
            read(&[addr.base]);
            writes.extend(dsts.iter().flatten().copied());
        }
        Op::Store { addr, src, .. } | Op::StoreMatrix { addr, src, .. } => {
            read(&[addr.base]);
            read(src);
        }
        Op::Atomic { addr, dst, src, .. } => {
            read(&[addr.base]);
            read(src);
            writes.extend(dst.iter().copied());
        }
        Op::Barrier { id, threads, .. } => {
            read(&[*id]);
            read(threads.as_slice());
        }
        Op::BarrierReduce {
            id, threads, dst, src, ..
        } => {
            read(&[*id, *src]);
            read(threads.as_slice());
            writes.push(*dst);
        }
        Op::WarpBarrier { mask } => read(&[mask.0]),
        Op::CpAsync {
            dst,
            src,
            src_bytes,
            ignore,
            ..
        } => {
            read(&[dst.base, src.base]);
            read(src_bytes.as_slice());
            read(ignore.as_slice());
        }
        Op::WmmaMove {
            addr,
            stride,
            dsts,
            src,
            ..
        } => {
            read(&[addr.base, *stride]);
            read(src);
            writes.extend(dsts.iter().flatten().copied());
        }
        Op::Mma { d, a, b, c, .. } | Op::Product { d, a, b, c, .. } => {
            read(a);
            read(b);
            read(c);
            writes.extend(d.iter().flatten().copied());
        }
        Op::Shuffle {
            dst,
            in_range,
            src,
            members,
            ..
        } => {
            read(src);
            read(&[members.0]);
            writes.push(*dst);
            writes.extend(in_range.iter().copied());
        }
        Op::Vote { dst, src, members, .. } | Op::Redux { dst, src, members, .. } => {
            read(&[*src, members.0]);
            writes.push(*dst);
        }
        Op::Match {
            dst,
            predicate,
            src,
            members,
            ..
        } => {
            read(&[*src, members.0]);
            writes.push(*dst);
            writes.extend(predicate.iter().copied());
        }
        Op::Elect {
            dst,
            predicate,
            members,
        } => {
            read(&[members.0]);
            writes.extend(dst.iter().chain(predicate).copied());
        }
        Op::ActiveMask { dst } => writes.push(*dst),
        Op::Mbarrier { addr, dst, src, .. } => {
            read(&[addr.base]);
            read(src);
            writes.extend(dst.iter().copied());
        }
        Op::BranchTable { index, .. } => read(&[*index]),
        Op::Branch { .. }
        | Op::Exit { .. }
        | Op::Trap { .. }
        | Op::Commit
        | Op::Wait { .. }
        | Op::Fence { .. }
        | Op::Nothing => {}
    }
}
