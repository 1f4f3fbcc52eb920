//! Emits the matmul kernel. Its shape was checked by [`alcop_spec::tiles`].
//!
//! ```mlir
//! %row0 = …, %col0 = …            // this thread's, before the loops
//! scf.for %k = … {
//!   vector.load %A[%row0 + 32, %col0 + %k]
//! ```
//!
//! What depends on the thread is computed once, before the loops; inside stand `base + %k + constant` only, so that
//! LLVM finds one base and immediate offsets.

use alcop_spec::kernel::ArrayDType;
use alcop_spec::schedule::mma_k;
use alcop_spec::tiles::{self, Chunk, PIECE_BYTES, Placement, chunks};
use alcop_spec::{DType, Matmul, TileSchedule};

use super::copies::{BlockOrigin, Copies, Transfer};
use super::epilogue::Epilogue;
use super::fragments::{LaneArithmetic, a_halves_by_row, b_halves_by_row, fragment_position, ldmatrix_address};
use super::reduction::Reduction;
use super::steps::{Access, TILE, TILE_N, Tiles, emit_step};
use crate::ir::{Attr, Block, Builder, CmpPredicate, Context, Location, Module, OwnedRegion, Type, Value};

/// Lanes of a warp.
const LANES: i64 = 32;

/// A statement of the listing in the header of [`super`]: line and column of its operations.
#[derive(Clone, Copy)]
pub(super) struct Statement(u32, u32);

const KERNEL: Statement = Statement(1, 1);
const CHUNK_LOOP: Statement = Statement(2, 3);
const COPY_A: Statement = Statement(3, 5);
const COPY_B: Statement = Statement(4, 5);
const FILLED_BARRIER: Statement = Statement(5, 5);
const STEP_LOOP: Statement = Statement(6, 5);
const LOAD_A: Statement = Statement(7, 7);
const LOAD_B: Statement = Statement(8, 7);
pub(super) const MMA: Statement = Statement(9, 7);
const READ_BARRIER: Statement = Statement(10, 5);
const EPILOGUE: Statement = Statement(11, 3);

fn locate<'c>(context: &'c Context, Statement(line, column): Statement) -> Location<'c> {
    Location::file(context, "matmul.tile", line, column)
}

pub(super) fn at<'c>(builder: &Builder<'c>, statement: Statement) -> Builder<'c> {
    builder.with_location(locate(builder.context(), statement))
}

impl<'ir> LaneArithmetic for Builder<'ir> {
    type Number = Value<'ir>;
    fn div(&self, value: Value<'ir>, by: i64) -> Value<'ir> {
        Builder::div(self, value, self.index(by))
    }
    fn rem(&self, value: Value<'ir>, by: i64) -> Value<'ir> {
        Builder::rem(self, value, self.index(by))
    }
    fn mul(&self, value: Value<'ir>, by: i64) -> Value<'ir> {
        Builder::mul(self, value, self.index(by))
    }
    fn add(&self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        Builder::add(self, a, b)
    }
}

pub(super) fn alignment<'c>(context: &'c Context, bytes: i64) -> Attr<'c> {
    Attr::int(Type::int(context, 64), bytes)
}

/// Emits a module with the kernel `entry` for a grid.
pub(super) fn emit<'c>(
    context: &'c Context,
    mm: &Matmul,
    schedule: &TileSchedule,
    entry: &str,
    grid: [u32; 3],
) -> Module<'c> {
    let location = locate(context, KERNEL);
    let module = Module::empty(context, location);
    module.op().set_attr("gpu.container_module", Attr::unit(context));
    // SAFETY: the block lives as long as the module, which is returned, so it outlives every handle of this function;
    // tying the handles to the context instead keeps the module free to move.
    let body = unsafe { Block::from_raw(module.body().raw()) };
    let top = Builder::at_end(context, body, location);
    let (region, kernels) = top.region(&[]);
    top.op("gpu.module")
        .attr("sym_name", Attr::string(context, "kernels"))
        .region(region)
        .build();

    let chunks = chunks(mm, schedule);
    let space = Attr::workgroup_space(context);
    let element = element_type(context, mm.dtype);
    let shared = [&chunks[0], &chunks[1]]
        .map(|chunk| Type::memref(&[chunk.rows.into(), chunk.columns.into()], element, Some(space)));
    let mut arguments = arguments(context, mm).to_vec();
    arguments.extend(tiles::workspace(mm, schedule).iter().map(|zeros| {
        let extents: Vec<i64> = zeros.shape.iter().map(|extent| *extent as i64).collect();
        let element = match zeros.dtype {
            ArrayDType::F32 => Type::f32(context),
            _ => Type::int(context, 32),
        };
        Type::memref(&extents, element, None)
    }));
    let inside = Builder::at_end(context, kernels, location);
    let (region, block) = inside.region(&[&arguments[..], &shared[..]].concat());
    emit_function(&inside, entry, &arguments, region, [schedule.threads(), 1, 1], grid);
    let count = arguments.len();
    Emitter {
        builder: Builder::at_end(context, block, location),
        mm,
        schedule,
        global: [0, 1, 2].map(|operand| block.argument(operand)),
        workspace: (3..count).map(|array| block.argument(array)).collect(),
        shared: [count, count + 1].map(|buffer| block.argument(buffer)),
    }
    .emit_body(&chunks);
    module
}

/// A type in memory. Tensor cores read binary32 as tf32 by themselves.
pub(super) fn element_type<'c>(context: &'c Context, dtype: DType) -> Type<'c> {
    match dtype {
        DType::F16 => Type::f16(context),
        DType::Bf16 => Type::bf16(context),
        DType::F32 | DType::Tf32 => Type::f32(context),
        DType::I8 => Type::int(context, 8),
        DType::I32 => Type::int(context, 32),
    }
}

/// Types of A, B and C in global memory.
fn arguments<'c>(context: &'c Context, mm: &Matmul) -> [Type<'c>; 3] {
    let memref = |shape: [u64; 2], dtype| {
        let batch = (mm.batch > 1).then_some(mm.batch);
        let extents: Vec<i64> = batch.into_iter().chain(shape).map(|extent| extent as i64).collect();
        Type::memref(&extents, element_type(context, dtype), None)
    };
    [
        memref(mm.a_shape(), mm.dtype),
        memref(mm.b_shape(), mm.dtype),
        memref(mm.c_shape(), mm.out_dtype),
    ]
}

fn emit_function<'c>(
    builder: &Builder<'c>,
    entry: &str,
    arguments: &[Type<'c>],
    region: OwnedRegion,
    block: [u32; 3],
    grid: [u32; 3],
) {
    let context = builder.context();
    let align = ("llvm.align", alignment(context, i64::from(PIECE_BYTES)));
    let operand = Attr::dictionary(context, &[align, ("llvm.noalias", Attr::unit(context))]);
    // Other blocks write to a workspace while this one reads it.
    let workspace = Attr::dictionary(context, &[align]);
    let attributes: Vec<Attr<'c>> = (0..arguments.len())
        .map(|number| if number < 3 { operand } else { workspace })
        .collect();
    // Within i32 by the limits of a grid and of a block.
    let dims = |dims: [u32; 3]| Attr::dense_i32(context, &dims.map(|dim| dim as i32));
    builder
        .op("gpu.func")
        .attr("sym_name", Attr::string(context, entry))
        .attr("function_type", Attr::ty(Type::function(context, arguments, &[])))
        .attr("arg_attrs", Attr::array(context, &attributes))
        .attr("workgroup_attributions", Attr::int(Type::int(context, 64), 2))
        .attr("gpu.kernel", Attr::unit(context))
        .attr("known_block_size", dims(block))
        .attr("known_grid_size", dims(grid))
        .region(region)
        .build();
}

/// What a block computes; see [`alcop_spec::tiles::Place`].
struct BlockPlace<'c> {
    row: Value<'c>,
    column: Value<'c>,
    /// Where there are several products.
    batch: Option<Value<'c>>,
    /// Where several blocks share a tile.
    split: Option<Value<'c>>,
}

/// Row and column of a number in a group of so many rows.
fn in_a_group<'c>(b: &Builder<'c>, within: Value<'c>, rows: i64) -> [Value<'c>; 2] {
    [
        LaneArithmetic::rem(b, within, rows),
        LaneArithmetic::div(b, within, rows),
    ]
}

struct Emitter<'a, 'c> {
    /// At the end of the kernel's body, with the kernel's location.
    builder: Builder<'c>,
    mm: &'a Matmul,
    schedule: &'a TileSchedule,
    /// A, B, C.
    global: [Value<'c>; 3],
    /// Those of [`tiles::workspace`].
    workspace: Vec<Value<'c>>,
    /// The chunks of A and B.
    shared: [Value<'c>; 2],
}

impl<'c> Emitter<'_, 'c> {
    fn emit_body(&self, chunks: &[Chunk; 2]) {
        let b = &self.builder;
        let (mm, schedule) = (self.mm, self.schedule);
        let thread = self.dimension("gpu.thread_id", "x");
        let warp = LaneArithmetic::div(b, thread, LANES);
        let lane = LaneArithmetic::rem(b, thread, LANES);
        // Warps are laid out along m first.
        let warps_m = i64::from(schedule.warps().0);
        let warp_row = LaneArithmetic::mul(b, LaneArithmetic::rem(b, warp, warps_m), schedule.warp.m.into());
        let warp_column = LaneArithmetic::mul(b, LaneArithmetic::div(b, warp, warps_m), schedule.warp.n.into());
        let place = self.place();
        let row = LaneArithmetic::mul(b, place.row, schedule.block.m.into());
        let column = LaneArithmetic::mul(b, place.column, schedule.block.n.into());
        let chunks_of_a_block = schedule.chunks_of_a_block(mm.k) as i64;
        let k_of_a_block = chunks_of_a_block * i64::from(schedule.block_k());
        let copies = [(0, row), (1, column)].map(|(operand, origin)| {
            let first_k = place.split.map(|split| LaneArithmetic::mul(b, split, k_of_a_block));
            self.copies(
                operand,
                &chunks[operand],
                thread,
                BlockOrigin {
                    line: origin,
                    k: first_k,
                },
                place.batch,
            )
        });
        let tiles = [
            self.tiles(0, &chunks[0], lane, warp_row),
            self.tiles(1, &chunks[1], lane, warp_column),
        ];

        let sum = element_type(b.context(), mm.dtype.accumulator());
        let zero = b.zero(Type::vector(&[2, 2], sum));
        let pieces = tiles[0].count * (i64::from(schedule.warp.n) / TILE_N);
        let inits = vec![zero; pieces as usize];
        let end = if schedule.split_k == 1 {
            mm.k as i64
        } else {
            k_of_a_block
        };
        let bounds = [0, end, i64::from(schedule.block_k())].map(|bound| b.index(bound));
        let sums = at(b, CHUNK_LOOP).for_loop(bounds[0], bounds[1], bounds[2], &inits, |body, k, sums| {
            emit_copies(body, &copies, k);
            at(body, FILLED_BARRIER).op("gpu.barrier").build();
            let steps = at(body, STEP_LOOP);
            let step_k = i64::from(mma_k(mm.dtype));
            let bounds = [0, i64::from(schedule.block_k()), step_k].map(|bound| steps.index(bound));
            let inner = steps.for_loop(bounds[0], bounds[1], bounds[2], sums, |step, ki, sums| {
                emit_step(step, mm.dtype, &tiles, ki, sums)
            });
            at(body, READ_BARRIER).op("gpu.barrier").build();
            inner.results().collect()
        });
        let sums: Vec<Value<'c>> = sums.results().collect();
        let epilogue = Epilogue {
            mm,
            schedule,
            global: self.global[2],
            origin: [b.add(row, warp_row), b.add(column, warp_column)],
            batch: place.batch,
        };
        let end = &at(b, EPILOGUE);
        match (place.split, &self.workspace[..]) {
            (Some(split), &[partials, arrived]) => Reduction {
                split_k: schedule.split_k.into(),
                partials,
                arrived,
                tile: self.number_of(&place),
                split,
                thread,
            }
            .emit(end, &sums, |last, sums| epilogue.emit(last, lane, sums)),
            _ => epilogue.emit(end, lane, &sums),
        }
        b.op("gpu.return").build();
    }

    /// As [`Placement::of`], which says what the numbers mean. All divisions are by constants, and stand before the
    /// loops.
    fn place(&self) -> BlockPlace<'c> {
        let b = &self.builder;
        let placement = Placement::new(self.mm, self.schedule);
        let [tiles_m, tiles_n, group_rows] =
            [placement.tiles_m, placement.tiles_n, placement.group_rows].map(|count| count as i64);
        let (x, y) = (self.dimension("gpu.block_id", "x"), self.dimension("gpu.block_id", "y"));
        let (row, column) = if group_rows == tiles_m {
            (x, y)
        } else {
            let number = b.add(x, LaneArithmetic::mul(b, y, tiles_m));
            let of_a_group = group_rows * tiles_n;
            let first = LaneArithmetic::mul(b, LaneArithmetic::div(b, number, of_a_group), group_rows);
            let within = LaneArithmetic::rem(b, number, of_a_group);
            let [row, column] = match tiles_m % group_rows {
                0 => in_a_group(b, within, group_rows),
                rest => {
                    let whole = b.cmp(CmpPredicate::Slt, first, b.index(tiles_m - rest));
                    let (usual, last) = (in_a_group(b, within, group_rows), in_a_group(b, within, rest));
                    [0, 1].map(|axis| b.select(whole, usual[axis], last[axis]))
                }
            };
            (b.add(first, row), column)
        };
        let split_k = i64::from(self.schedule.split_k);
        let needs_z = self.mm.batch > 1 || split_k > 1;
        let z = needs_z.then(|| self.dimension("gpu.block_id", "z"));
        let (batch, split) = match (self.mm.batch > 1, split_k > 1) {
            (batch, false) => (z.filter(|_| batch), None),
            (false, true) => (None, z),
            (true, true) => (
                z.map(|z| LaneArithmetic::div(b, z, split_k)),
                z.map(|z| LaneArithmetic::rem(b, z, split_k)),
            ),
        };
        BlockPlace {
            row,
            column,
            batch,
            split,
        }
    }

    /// Number of the block's tile among those of all products.
    fn number_of(&self, place: &BlockPlace<'c>) -> Value<'c> {
        let b = &self.builder;
        let placement = Placement::new(self.mm, self.schedule);
        let column = match place.batch {
            None => place.column,
            Some(batch) => b.add(place.column, LaneArithmetic::mul(b, batch, placement.tiles_n as i64)),
        };
        b.add(place.row, LaneArithmetic::mul(b, column, placement.tiles_m as i64))
    }

    fn dimension(&self, name: &'static str, axis: &str) -> Value<'c> {
        let context = self.builder.context();
        // The C API has no constructor for this attribute.
        let axis = Attr::parse(context, &format!("#gpu<dim {axis}>")).expect("the gpu dialect is loaded");
        let index = Type::index(context);
        self.builder.op(name).attr("dimension", axis).result(index).value()
    }

    /// `origin`: where the block's tile starts along m or n, and its sum along k.
    fn copies(
        &self,
        operand: usize,
        chunk: &Chunk,
        thread: Value<'c>,
        origin: BlockOrigin<'c>,
        batch: Option<Value<'c>>,
    ) -> Copies<'c> {
        let (mm, block) = (self.mm, self.schedule.block);
        let partial = |extent: u64, tile: u64| (!extent.is_multiple_of(tile)).then_some(extent as i64);
        let (chunk_k, split_k) = (u64::from(self.schedule.block_k()), u64::from(self.schedule.split_k));
        // All blocks of a tile together reach beyond K where its chunks do not divide it or they do not divide those.
        let reach = split_k * self.schedule.chunks_of_a_block(mm.k) * chunk_k;
        let transfer = Transfer {
            statement: [COPY_A, COPY_B][operand],
            global: self.global[operand],
            shared: self.shared[operand],
            element: element_type(self.builder.context(), mm.dtype),
            batch,
            origin,
            partial: [partial(mm.m, block.m.into()), partial(mm.n, block.n.into())][operand],
            partial_k: (reach != mm.k).then_some(mm.k as i64),
        };
        Copies::new(&self.builder, chunk, transfer, thread, self.schedule.threads().into())
    }

    /// `warp`: where the warp's tile starts along m or n.
    fn tiles(&self, operand: usize, chunk: &Chunk, lane: Value<'c>, warp: Value<'c>) -> Tiles<'c> {
        let statement = [LOAD_A, LOAD_B][operand];
        let (mm, is_a) = (self.mm, operand == 0);
        let b = &at(&self.builder, statement);
        let per_register = 4 / mm.dtype.bytes() as i64;
        let access = Access::new(mm.dtype, is_a, chunk.k_in_rows);
        // Row and column in the first tile.
        let (row, column) = match access {
            Access::Matrices { .. } => {
                let by_row = if is_a {
                    a_halves_by_row(mm.layout.a_transposed())
                } else {
                    b_halves_by_row(mm.layout.b_transposed())
                };
                ldmatrix_address(b, lane, by_row, 4 * per_register)
            }
            Access::Elements { .. } => {
                let (line, k) = fragment_position(b, lane, per_register);
                (k, line)
            }
        };
        let extent = [self.schedule.warp.m, self.schedule.warp.n][operand];
        Tiles {
            statement,
            shared: self.shared[operand],
            element: element_type(b.context(), mm.dtype),
            per_register,
            first: if chunk.k_in_rows {
                [row, b.add(warp, column)]
            } else {
                [b.add(warp, row), column]
            },
            k_in_rows: chunk.k_in_rows,
            access,
            count: i64::from(extent) / TILE,
        }
    }
}

/// The copies of a chunk: all loads, then all stores, so that without a pipeline their latencies at least overlap each
/// other; where they are narrow, a group at a time, so that what is loaded fits into the registers.
fn emit_copies<'c>(body: &Builder<'c>, copies: &[Copies<'c>; 2], k: Value<'c>) {
    let mut groups = copies.each_ref().map(|copies| copies.groups().into_iter());
    loop {
        let round = groups.each_mut().map(Iterator::next);
        if round.iter().all(Option::is_none) {
            return;
        }
        let load = |(copies, pieces): (&Copies<'c>, &Option<std::ops::Range<usize>>)| {
            pieces
                .clone()
                .map_or_else(Vec::new, |pieces| copies.emit_loads(body, k, pieces))
        };
        let loaded: Vec<Vec<Value<'c>>> = copies.iter().zip(&round).map(load).collect();
        for ((copies, pieces), values) in copies.iter().zip(round).zip(&loaded) {
            if let Some(pieces) = pieces {
                copies.emit_stores(body, pieces, values);
            }
        }
    }
}
