//! Which chunk comes how many iterations later, in one loop or across a nest of loops.
//!
//! ```text
//! for i in 0..4 { for k in 0..64 step 32 { … } }     the chunks (0, 0), (0, 32), (1, 0), (1, 32), …
//! ```

use alcop_compiler::ir::{Builder, Mapping, Op, Value, constant_index};

use super::items::static_trip;
use crate::fold::{self, Condition};

/// The counters of a nest, outermost first.
pub type Chunk<'ir> = Vec<Value<'ir>>;

/// The loops of a nest and whether it runs at all.
pub struct Nest<'ir> {
    pub loops: Vec<Op<'ir>>,
    /// Lower bound, upper bound and step of each, usable before the nest.
    pub bounds: Vec<[Value<'ir>; 3]>,
    /// Whether every inner loop has an iteration: otherwise no chunk exists.
    runs: Condition<'ir>,
}

impl<'ir> Nest<'ir> {
    /// `builder` stands before the outermost loop.
    pub fn new(builder: &Builder<'ir>, loops: &[Op<'ir>]) -> Self {
        let bound = |value: Value<'ir>| match constant_index(value) {
            Some(constant) => builder.index(constant),
            None => value,
        };
        let bounds: Vec<[Value<'ir>; 3]> = loops
            .iter()
            .map(|op| [0, 1, 2].map(|number| bound(op.operand(number))))
            .collect();
        let runs = loops
            .iter()
            .zip(&bounds)
            .skip(1)
            .fold(Condition::Known(true), |runs, (op, bounds)| {
                let one = match static_trip(*op) {
                    Some(trip) => Condition::Known(trip > 0),
                    None => fold::less(builder, bounds[0], bounds[1]),
                };
                runs.and(builder, one)
            });
        Nest {
            loops: loops.to_vec(),
            bounds,
            runs,
        }
    }

    /// The chunk of the first iteration.
    pub fn first(&self) -> Chunk<'ir> {
        self.bounds.iter().map(|[lower, ..]| *lower).collect()
    }

    /// The chunk of the iteration behind this one: compare and select, no division.
    pub fn next(&self, builder: &Builder<'ir>, chunk: &[Value<'ir>]) -> Chunk<'ir> {
        let mut next = chunk.to_vec();
        let last = chunk.len() - 1;
        next[last] = fold::add(builder, chunk[last], self.bounds[last][2]);
        for level in (1..chunk.len()).rev() {
            let [lower, upper, _] = self.bounds[level];
            let stays = fold::less(builder, next[level], upper);
            next[level] = stays.select(builder, next[level], lower);
            let outer = fold::add(builder, chunk[level - 1], self.bounds[level - 1][2]);
            next[level - 1] = stays.select(builder, chunk[level - 1], outer);
        }
        next
    }

    /// The chunk so many iterations later, in a nest of one loop.
    pub fn later(&self, builder: &Builder<'ir>, counter: Value<'ir>, ahead: u32) -> Chunk<'ir> {
        let offset = fold::mul(builder, self.bounds[0][2], builder.index(i64::from(ahead)));
        vec![fold::add(builder, counter, offset)]
    }

    /// The same chunk if there is such a one, otherwise one that is: what is computed of it is not used, and its range
    /// is known.
    pub fn inside(&self, builder: &Builder<'ir>, chunk: &[Value<'ir>]) -> Chunk<'ir> {
        let mut inside = chunk.to_vec();
        let [lower, _, step] = self.bounds[0];
        let last = static_trip(self.loops[0])
            .zip(constant_index(lower))
            .zip(constant_index(step));
        let last = last.map(|((trip, lower), step)| (lower, lower + (trip as i64 - 1) * step));
        if let Some((_, last)) = last.filter(|(lower, last)| *lower >= 0 && last >= lower) {
            let ty = chunk[0].ty();
            let least = builder
                .op("arith.minui")
                .operands(&[chunk[0], builder.index(last)])
                .result(ty);
            inside[0] = least.value();
        }
        inside
    }

    /// Whether there is such a chunk.
    pub fn exists(&self, builder: &Builder<'ir>, chunk: &[Value<'ir>]) -> Condition<'ir> {
        let inside = fold::less(builder, chunk[0], self.bounds[0][1]);
        inside.and(builder, self.runs)
    }

    /// The loops' counters stand for those of a chunk.
    pub fn enter(&self, chunk: &[Value<'ir>], map: &mut Mapping<'ir>) {
        for (op, value) in self.loops.iter().zip(chunk) {
            map.insert(op.body().expect("scf.for has one block").argument(0), *value);
        }
    }
}
