//! What differs between blocks: sets of blocks that did the same so far, and sums over their ids.
//!
//! ```text
//! %row = %block_id_x · 64 + %tid      64 · x + [0, 1, 2, …], for every block of the set at once
//! %row < 500                          answered alike by x in 0..=6, and by 7: the set is cut in two
//! ```

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::numbers::{Arith, Number};

/// A block id, or what was computed of block ids alone.
pub(super) type Symbol = usize;

/// A sum of symbols times factors other than zero, by symbol.
pub(super) type Terms = Rc<[(Symbol, i64)]>;

/// An integer in each thread of each block of a set.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The same in all blocks.
    Known(Number),
    /// The sum of the terms and of a number.
    Linear { terms: Terms, rest: Number },
    /// What is computed only if something depends on it.
    Lazy(Rc<Lazy>),
    /// What an operation answers that nothing is known of.
    Unknown(u32),
}

#[derive(Debug)]
pub(super) struct Lazy {
    pub op: u32,
    pub arith: Arith,
    pub operands: [Value; 3],
    /// How many lazy values stand one in the other.
    pub depth: u32,
}

/// Blocks that are listed one by one at most.
const LIST_LIMIT: i128 = 1 << 17;

/// The largest grid (CUDA C++ Programming Guide, "Compute Capabilities").
const GRID_LIMIT: [i64; 3] = [(1 << 31) - 1, 65535, 65535];

/// Some blocks of a grid.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// All from the first to the last id of each axis.
    Cuboid([(i64, i64); 3]),
    List(Vec<[i64; 3]>),
}

impl Shape {
    /// The blocks of a grid, which may be any where it is not known.
    pub fn grid(size: Option<[i64; 3]>) -> Self {
        Shape::Cuboid(size.unwrap_or(GRID_LIMIT).map(|extent| (0, extent - 1)))
    }

    /// The block that stands for all.
    pub fn first(&self) -> [i64; 3] {
        match self {
            Shape::Cuboid(axes) => axes.map(|(first, _)| first),
            Shape::List(blocks) => blocks[0],
        }
    }
}

/// Where to cut a set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Sums below a number, and the others.
    Below(i128),
    /// Sums of a number, and the others.
    At(i128),
    /// Each sum by itself.
    Each,
}

/// What became of a cut.
pub(super) enum Parts {
    /// The set is one part; these are the others. There may be none.
    Others(Vec<Shape>),
    /// There are more parts than can be told apart.
    TooMany,
}

/// A set of blocks, which only ever shrinks.
pub(super) struct Blocks {
    shape: Shape,
    /// What was computed of the ids of listed blocks.
    derived: Vec<Vec<i64>>,
    ranges: HashMap<Terms, (i128, i128)>,
}

const IDS: usize = 3;

impl Blocks {
    pub fn new(shape: Shape) -> Self {
        Blocks {
            shape,
            derived: Vec::new(),
            ranges: HashMap::new(),
        }
    }

    pub fn first(&self) -> [i64; 3] {
        self.shape.first()
    }

    /// The least and the largest sum.
    pub fn range(&mut self, terms: &Terms) -> (i128, i128) {
        if terms.is_empty() {
            return (0, 0);
        }
        if let Some(known) = self.ranges.get(terms) {
            return *known;
        }
        let range = match &self.shape {
            Shape::Cuboid(axes) => terms.iter().fold((0, 0), |(low, high), (symbol, factor)| {
                let (first, last) = axes[*symbol];
                let ends = [first, last].map(|id| i128::from(id) * i128::from(*factor));
                (low + ends[0].min(ends[1]), high + ends[0].max(ends[1]))
            }),
            Shape::List(blocks) => {
                let sums = (0..blocks.len()).map(|number| self.sum(number, terms));
                sums.fold((i128::MAX, i128::MIN), |(low, high), sum| (low.min(sum), high.max(sum)))
            }
        };
        self.ranges.insert(Rc::clone(terms), range);
        range
    }

    /// The sum of a listed block.
    fn sum(&self, number: usize, terms: &Terms) -> i128 {
        let Shape::List(blocks) = &self.shape else { return 0 };
        let of = |symbol: Symbol| match symbol {
            id if id < IDS => blocks[number][id],
            derived => self.derived[derived - IDS][number],
        };
        terms
            .iter()
            .map(|(symbol, factor)| i128::from(of(*symbol)) * i128::from(*factor))
            .sum()
    }

    /// Lists the blocks one by one; false where they are too many.
    fn list(&mut self) -> bool {
        let Shape::Cuboid(axes) = self.shape else { return true };
        let count: i128 = axes.iter().map(|(first, last)| i128::from(last - first + 1)).product();
        if count > LIST_LIMIT {
            return false;
        }
        let [x, y, z] = axes.map(|(first, last)| first..=last);
        let mut blocks = Vec::with_capacity(count as usize);
        for z in z {
            for y in y.clone() {
                blocks.extend(x.clone().map(|x| [x, y, z]));
            }
        }
        self.shape = Shape::List(blocks);
        true
    }

    /// A new symbol for what an operation answers in each block, of sums that are the same in all threads, and for how
    /// many blocks it was computed. `None` where the blocks are too many, or one has no answer.
    pub fn derive(&mut self, arith: Arith, operands: &[(Terms, i64); 3]) -> Option<(Symbol, usize)> {
        if !self.list() {
            return None;
        }
        let Shape::List(blocks) = &self.shape else { return None };
        let values = (0..blocks.len())
            .map(|number| {
                let [a, b, c] = operands
                    .each_ref()
                    .map(|(terms, rest)| i64::try_from(self.sum(number, terms) + i128::from(*rest)).ok());
                arith.apply(a?, b?, c?)
            })
            .collect::<Option<Vec<i64>>>()?;
        let count = values.len();
        self.derived.push(values);
        Some((IDS + self.derived.len() - 1, count))
    }

    /// Shrinks the set to one block.
    pub fn narrow_to_first(&mut self) {
        let first = self.first();
        if let Shape::Cuboid(_) = self.shape {
            self.shape = Shape::Cuboid(first.map(|id| (id, id)));
        } else {
            self.keep(&[0]);
        }
        self.ranges.clear();
    }

    /// Shrinks the set to the part that its first block is in.
    pub fn cut(&mut self, terms: &Terms, cut: Cut, limit: usize) -> Parts {
        let one_axis = match (&self.shape, &terms[..]) {
            (Shape::Cuboid(axes), [(axis, factor)]) => Some((*axes, *axis, *factor)),
            _ => None,
        };
        let parts = match one_axis {
            Some((axes, axis, factor)) => self.cut_axis(axes, axis, factor, cut, limit),
            None if self.list() => self.cut_list(terms, cut, limit),
            None => Parts::TooMany,
        };
        self.ranges.clear();
        parts
    }

    fn cut_axis(&mut self, axes: [(i64, i64); 3], axis: usize, factor: i64, cut: Cut, limit: usize) -> Parts {
        let (first, last) = axes[axis];
        let (wide, factor) = ((i128::from(first), i128::from(last)), i128::from(factor));
        // The first id of each part but the first.
        let starts: Vec<i128> = match cut {
            // factor · id < bound is id < bound / factor, rounded up.
            Cut::Below(bound) if factor > 0 => vec![-(-bound).div_euclid(factor)],
            // With a negative factor it is id > -bound / -factor, rounded down.
            Cut::Below(bound) => vec![(-bound).div_euclid(-factor) + 1],
            Cut::At(sum) if sum % factor == 0 => vec![sum / factor, sum / factor + 1],
            Cut::At(_) => Vec::new(),
            Cut::Each if wide.1 - wide.0 >= limit as i128 => return Parts::TooMany,
            Cut::Each => (wide.0 + 1..=wide.1).collect(),
        };
        let mut ends: Vec<i64> = starts
            .into_iter()
            .filter(|start| (wide.0 + 1..=wide.1).contains(start))
            .map(|start| start as i64)
            .collect();
        ends.push(last + 1);
        let mut from = first;
        let mut parts = ends.into_iter().map(|end| {
            let mut part = axes;
            part[axis] = (from, end - 1);
            from = end;
            Shape::Cuboid(part)
        });
        self.shape = parts.next().expect("a part at least");
        Parts::Others(parts.collect())
    }

    fn cut_list(&mut self, terms: &Terms, cut: Cut, limit: usize) -> Parts {
        let Shape::List(blocks) = &self.shape else {
            return Parts::TooMany;
        };
        let mut groups: BTreeMap<i128, Vec<usize>> = BTreeMap::new();
        for number in 0..blocks.len() {
            let sum = self.sum(number, terms);
            let group = match cut {
                Cut::Below(bound) => i128::from(sum < bound),
                Cut::At(at) => i128::from(sum == at),
                Cut::Each => sum,
            };
            groups.entry(group).or_default().push(number);
        }
        if groups.len() > limit {
            return Parts::TooMany;
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_unstable();
        let others = groups[1..]
            .iter()
            .map(|group| Shape::List(group.iter().map(|number| blocks[*number]).collect()))
            .collect();
        self.keep(&groups[0]);
        Parts::Others(others)
    }

    /// Keeps some of the listed blocks.
    fn keep(&mut self, numbers: &[usize]) {
        if let Shape::List(blocks) = &mut self.shape {
            *blocks = numbers.iter().map(|number| blocks[*number]).collect();
            for derived in &mut self.derived {
                *derived = numbers.iter().map(|number| derived[*number]).collect();
            }
        }
    }
}

/// The sum of two sums, the second of them times a factor. `None` where a factor is too large.
pub(super) fn add(a: &Terms, b: &Terms, factor: i64) -> Option<Terms> {
    if b.is_empty() || factor == 0 {
        return Some(Rc::clone(a));
    }
    let mut sum: BTreeMap<Symbol, i64> = a.iter().copied().collect();
    for (symbol, of) in b.iter() {
        let term = sum.entry(*symbol).or_insert(0);
        *term = of.checked_mul(factor)?.checked_add(*term)?;
    }
    Some(sum.into_iter().filter(|(_, factor)| *factor != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(of: &[(Symbol, i64)]) -> Terms {
        of.iter().copied().collect()
    }

    /// The ids of x in each part of a grid of ten blocks in a row.
    fn cut(factor: i64, cut: Cut, listed: bool) -> Vec<Vec<i64>> {
        let mut blocks = Blocks::new(Shape::grid(Some([10, 1, 1])));
        if listed {
            assert!(blocks.list());
        }
        let Parts::Others(others) = blocks.cut(&terms(&[(0, factor)]), cut, 100) else {
            panic!("too many")
        };
        let mut parts: Vec<Vec<i64>> = std::iter::once(blocks.shape)
            .chain(others)
            .map(|shape| match shape {
                Shape::Cuboid([(first, last), ..]) => (first..=last).collect(),
                Shape::List(blocks) => blocks.into_iter().map(|[x, ..]| x).collect(),
            })
            .collect();
        parts.sort_unstable();
        parts
    }

    #[test]
    fn a_row_of_blocks_is_cut_where_the_sums_say() {
        for factor in [-7, -3, -1, 1, 2, 5] {
            for bound in -80..80 {
                for at in [Cut::Below(bound), Cut::At(bound)] {
                    let answers = |x: &i64| match at {
                        Cut::Below(bound) => i128::from(x * factor) < bound,
                        Cut::At(sum) => i128::from(x * factor) == sum,
                        Cut::Each => false,
                    };
                    for listed in [false, true] {
                        let parts = cut(factor, at, listed);
                        let mut all: Vec<i64> = parts.concat();
                        all.sort_unstable();
                        assert_eq!(all, (0..10).collect::<Vec<i64>>(), "{factor}, {at:?}, {listed}");
                        for part in parts {
                            assert!(!part.is_empty());
                            let alike = part.iter().all(|x| answers(x) == answers(&part[0]));
                            assert!(alike, "{factor}, {at:?}, {listed}: {part:?}");
                        }
                    }
                }
            }
        }
        assert_eq!(cut(3, Cut::Each, false).len(), 10);
        assert_eq!(cut(3, Cut::Each, true).len(), 10);
    }

    #[test]
    fn what_is_not_known_is_not_listed() {
        let mut blocks = Blocks::new(Shape::grid(None));
        let both = terms(&[(0, 1), (1, 1)]);
        assert!(matches!(blocks.cut(&both, Cut::Below(5), 100), Parts::TooMany));
        assert_eq!(blocks.range(&both), (0, (1 << 31) - 2 + 65534));
        blocks.narrow_to_first();
        assert_eq!(blocks.range(&both), (0, 0));
    }
}
