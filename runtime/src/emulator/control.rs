//! Control flow of a decoded kernel: basic blocks, immediate post-dominators, natural loops.

use super::program::{Instr, Loop, Op};

/// Successors of an instruction; `end` stands for the end of the kernel.
pub(crate) fn successors(code: &[Instr], pc: usize, out: &mut Vec<usize>) {
    out.clear();
    let guarded = code[pc].guard.is_some();
    match code[pc].op {
        Op::Branch { target } => {
            out.push(target as usize);
            if guarded && target as usize != pc + 1 {
                out.push(pc + 1);
            }
        }
        Op::BranchTable { ref targets, .. } => {
            out.extend(targets.iter().map(|&target| target as usize));
            if guarded {
                out.push(pc + 1);
            }
        }
        Op::Exit { .. } => {
            out.push(code.len());
            if guarded && pc + 1 != code.len() {
                out.push(pc + 1);
            }
        }
        _ => out.push(pc + 1),
    }
}

/// Basic blocks: `start[b]` is a first instruction, `of[pc]` the block of an instruction. The last block is the end.
struct Blocks {
    start: Vec<usize>,
    of: Vec<usize>,
    successors: Vec<Vec<usize>>,
}

fn blocks(code: &[Instr]) -> Blocks {
    let mut leader = vec![false; code.len() + 1];
    leader[0] = true;
    leader[code.len()] = true;
    let mut next = Vec::new();
    for pc in 0..code.len() {
        if matches!(
            code[pc].op,
            Op::Branch { .. } | Op::BranchTable { .. } | Op::Exit { .. }
        ) {
            leader[pc + 1] = true;
            successors(code, pc, &mut next);
            for &target in &next {
                leader[target] = true;
            }
        }
    }
    let start: Vec<usize> = (0..=code.len()).filter(|&pc| leader[pc]).collect();
    let mut of = vec![0; code.len() + 1];
    for (block, &first) in start.iter().enumerate() {
        let last = start.get(block + 1).copied().unwrap_or(code.len() + 1);
        of[first..last].fill(block);
    }
    let edges = (0..start.len())
        .map(|block| {
            if start[block] == code.len() {
                return Vec::new();
            }
            successors(code, start[block + 1] - 1, &mut next);
            next.iter().map(|&pc| of[pc]).collect()
        })
        .collect();
    Blocks {
        start,
        of,
        successors: edges,
    }
}

/// Fills in where the lanes of each branch meet again, and finds the loops.
pub(crate) fn analyse(code: &mut [Instr]) -> Vec<Loop> {
    let blocks = blocks(code);
    let end = blocks.start.len() - 1;
    let reversed = reversed(&blocks.successors);
    let staying = staying(code, &blocks);
    let post = dominators(end, &self::reversed(&staying), &staying);
    let count = code.len() as u32;
    for (pc, instr) in code.iter_mut().enumerate() {
        // A block that never reaches the end has no post-dominator: its lanes meet only there.
        instr.reconverge = post[blocks.of[pc]].map_or(count, |block| blocks.start[block] as u32);
    }
    let forward = dominators(0, &blocks.successors, &reversed);
    loops(code, &blocks, &reversed, &forward)
}

fn reversed(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut reversed = vec![Vec::new(); successors.len()];
    for (block, next) in successors.iter().enumerate() {
        for &successor in next {
            reversed[successor].push(block);
        }
    }
    reversed
}

/// The edges along which lanes stay. One to a block of `exit` alone is not waited for: LLVM writes such branches where it
/// has proven that no lane takes them, and who does meets nobody again. A `ret` ends the kernel for all, and lanes that
/// skip a barrier on the way there are reported.
fn staying(code: &[Instr], blocks: &Blocks) -> Vec<Vec<usize>> {
    let end = blocks.start.len() - 1;
    let leaves = |block: usize| {
        let first = blocks.start[block];
        block != end && matches!(code[first].op, Op::Exit { returns: false }) && code[first].guard.is_none()
    };
    let stay = |next: &Vec<usize>| {
        let staying: Vec<usize> = next.iter().copied().filter(|&block| !leaves(block)).collect();
        if staying.is_empty() { next.clone() } else { staying }
    };
    let mut staying: Vec<Vec<usize>> = blocks.successors.iter().map(stay).collect();
    // Where it is the only way out, such as of a loop, it counts.
    loop {
        let reached = reach(end, &reversed(&staying));
        let lost = (0..staying.len()).filter(|&block| !reached[block] && staying[block] != blocks.successors[block]);
        let lost: Vec<usize> = lost.collect();
        if lost.is_empty() {
            return staying;
        }
        for block in lost {
            staying[block].clone_from(&blocks.successors[block]);
        }
    }
}

/// What can be reached from a root.
fn reach(root: usize, successors: &[Vec<usize>]) -> Vec<bool> {
    let mut seen = vec![false; successors.len()];
    let mut open = vec![root];
    while let Some(block) = open.pop() {
        if !std::mem::replace(&mut seen[block], true) {
            open.extend(&successors[block]);
        }
    }
    seen
}

/// Immediate dominators from a root (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"); `None` for the
/// root and for what it does not reach.
fn dominators(root: usize, successors: &[Vec<usize>], predecessors: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut order = Vec::new(); // postorder
    let mut number = vec![usize::MAX; successors.len()];
    let mut seen = vec![false; successors.len()];
    let mut stack = vec![(root, 0usize)];
    seen[root] = true;
    while let Some((node, edge)) = stack.pop() {
        match successors[node].get(edge) {
            Some(&next) => {
                stack.push((node, edge + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
            None => {
                number[node] = order.len();
                order.push(node);
            }
        }
    }
    let mut idom: Vec<Option<usize>> = vec![None; successors.len()];
    idom[root] = Some(root);
    let mut changed = true;
    while changed {
        changed = false;
        for &node in order.iter().rev().filter(|&&node| node != root) {
            let mut best: Option<usize> = None;
            for &from in predecessors[node].iter().filter(|&&from| idom[from].is_some()) {
                best = Some(best.map_or(from, |other| meet(&idom, &number, other, from)));
            }
            if best.is_some() && idom[node] != best {
                idom[node] = best;
                changed = true;
            }
        }
    }
    idom[root] = None;
    idom
}

fn meet(idom: &[Option<usize>], number: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        // The root has the highest number, so the lower one can always climb.
        let lower = if number[a] < number[b] { &mut a } else { &mut b };
        match idom[*lower] {
            Some(up) => *lower = up,
            None => return *lower,
        }
    }
    a
}

fn loops(code: &[Instr], blocks: &Blocks, reversed: &[Vec<usize>], idom: &[Option<usize>]) -> Vec<Loop> {
    let dominates = |a: usize, b: usize| {
        let mut at = b;
        loop {
            if at == a {
                return true;
            }
            match idom[at] {
                Some(up) => at = up,
                None => return false,
            }
        }
    };
    // Loops that share a head are one loop.
    let mut bodies: std::collections::BTreeMap<usize, Vec<bool>> = std::collections::BTreeMap::new();
    for (tail, next) in blocks.successors.iter().enumerate() {
        for &head in next.iter().filter(|&&head| dominates(head, tail)) {
            let inside = bodies.entry(head).or_insert_with(|| vec![false; blocks.start.len()]);
            inside[head] = true;
            let mut stack = vec![tail];
            while let Some(block) = stack.pop() {
                if !inside[block] {
                    inside[block] = true;
                    stack.extend(&reversed[block]);
                }
            }
        }
    }
    let mut found: Vec<Loop> = bodies
        .iter()
        .map(|(&head, inside)| Loop {
            head: blocks.start[head] as u32,
            head_line: code[blocks.start[head]].line,
            body: (0..code.len())
                .filter(|&pc| inside[blocks.of[pc]])
                .map(|pc| pc as u32)
                .collect(),
            depth: 0,
        })
        .collect();
    for index in 0..found.len() {
        let head = found[index].head;
        let around = found
            .iter()
            .filter(|other| other.head != head && other.body.binary_search(&head).is_ok())
            .count();
        found[index].depth = around as u32;
    }
    found
}
