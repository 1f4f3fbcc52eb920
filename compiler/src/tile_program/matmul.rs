//! Emits the matmul kernel. Its shape was checked by [`super::legality`].
//!
//! ```mlir
//! %row0 = …, %col0 = …            // this thread's, before the loops
//! scf.for %k = … {
//!   vector.load %A[%row0 + 32, %col0 + %k]
//! ```
//!
//! What depends on the thread is computed once, before the loops; inside stand `base + %k + constant` only, so that
//! LLVM finds one base and immediate offsets.

use alcop_spec::{DType, Matmul, TileSchedule};

use super::PIECE_BYTES;
use super::fragments::{LaneArithmetic, a_halves_by_row, accumulator_position, b_halves_by_row, ldmatrix_address};
use super::legality::{Chunk, chunks};
use crate::ir::{Attr, Block, Builder, Context, Location, Module, OwnedRegion, Type, Value};

/// Lanes of a warp.
const LANES: i64 = 32;
/// f16 elements of a piece.
const PIECE: i64 = PIECE_BYTES as i64 / 2;
/// Rows of a tensor-core tile, and its extent along k.
const TILE: i64 = 16;
/// Columns of a tensor-core tile.
const TILE_N: i64 = 8;

/// A statement of the listing in the header of [`super`]: line and column of its operations.
#[derive(Clone, Copy)]
struct Statement(u32, u32);

const KERNEL: Statement = Statement(1, 1);
const CHUNK_LOOP: Statement = Statement(2, 3);
const COPY_A: Statement = Statement(3, 5);
const COPY_B: Statement = Statement(4, 5);
const FILLED_BARRIER: Statement = Statement(5, 5);
const STEP_LOOP: Statement = Statement(6, 5);
const LOAD_A: Statement = Statement(7, 7);
const LOAD_B: Statement = Statement(8, 7);
const MMA: Statement = Statement(9, 7);
const READ_BARRIER: Statement = Statement(10, 5);
const EPILOGUE: Statement = Statement(11, 3);

fn locate<'c>(context: &'c Context, Statement(line, column): Statement) -> Location<'c> {
    Location::file(context, "matmul.tile", line, column)
}

fn at<'c>(builder: &Builder<'c>, statement: Statement) -> Builder<'c> {
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

/// `base + constant`, where there is something to add.
fn plus<'c>(builder: &Builder<'c>, base: Value<'c>, constant: i64) -> Value<'c> {
    match constant {
        0 => base,
        _ => builder.add(base, builder.index(constant)),
    }
}

fn alignment<'c>(context: &'c Context, bytes: i64) -> Attr<'c> {
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
    let f16 = Type::f16(context);
    let shared = [&chunks[0], &chunks[1]]
        .map(|chunk| Type::memref(&[chunk.rows.into(), chunk.columns.into()], f16, Some(space)));
    let arguments = arguments(context, mm);
    let inside = Builder::at_end(context, kernels, location);
    let (region, block) = inside.region(&[arguments[0], arguments[1], arguments[2], shared[0], shared[1]]);
    emit_function(&inside, entry, &arguments, region, [schedule.threads(), 1, 1], grid);
    Emitter {
        builder: Builder::at_end(context, block, location),
        mm,
        schedule,
        global: [0, 1, 2].map(|operand| block.argument(operand)),
        shared: [3, 4].map(|buffer| block.argument(buffer)),
    }
    .emit_body(&chunks);
    module
}

/// Types of A, B and C in global memory.
fn arguments<'c>(context: &'c Context, mm: &Matmul) -> [Type<'c>; 3] {
    let memref = |shape: [u64; 2], dtype| {
        let batch = (mm.batch > 1).then_some(mm.batch);
        let extents: Vec<i64> = batch.into_iter().chain(shape).map(|extent| extent as i64).collect();
        let element = match dtype {
            DType::F16 => Type::f16(context),
            DType::F32 => Type::f32(context),
        };
        Type::memref(&extents, element, None)
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
    arguments: &[Type<'c>; 3],
    region: OwnedRegion,
    block: [u32; 3],
    grid: [u32; 3],
) {
    let context = builder.context();
    let argument = Attr::dictionary(
        context,
        &[
            ("llvm.align", alignment(context, i64::from(PIECE_BYTES))),
            ("llvm.noalias", Attr::unit(context)),
        ],
    );
    // Within i32 by the limits of a grid and of a block.
    let dims = |dims: [u32; 3]| Attr::dense_i32(context, &dims.map(|dim| dim as i32));
    builder
        .op("gpu.func")
        .attr("sym_name", Attr::string(context, entry))
        .attr("function_type", Attr::ty(Type::function(context, arguments, &[])))
        .attr("arg_attrs", Attr::array(context, &[argument; 3]))
        .attr("workgroup_attributions", Attr::int(Type::int(context, 64), 2))
        .attr("gpu.kernel", Attr::unit(context))
        .attr("known_block_size", dims(block))
        .attr("known_grid_size", dims(grid))
        .region(region)
        .build();
}

struct Emitter<'a, 'c> {
    /// At the end of the kernel's body, with the kernel's location.
    builder: Builder<'c>,
    mm: &'a Matmul,
    schedule: &'a TileSchedule,
    /// A, B, C.
    global: [Value<'c>; 3],
    /// The chunks of A and B.
    shared: [Value<'c>; 2],
}

/// The copies of one operand.
struct Copies<'c> {
    statement: Statement,
    global: Value<'c>,
    shared: Value<'c>,
    /// Index of the product, where there are several.
    batch: Option<Value<'c>>,
    /// Row and column in the chunk of this thread's first piece.
    in_chunk: [Value<'c>; 2],
    /// The same in global memory, for the chunk at k = 0.
    in_global: [Value<'c>; 2],
    k_in_rows: bool,
    /// From one piece of a thread to its next.
    rows_apart: i64,
    /// Pieces of a thread.
    count: i64,
}

/// The 16×16 tiles of one operand that a warp reads with `ldmatrix`.
struct Tiles<'c> {
    statement: Statement,
    shared: Value<'c>,
    /// Row and column in the chunk that this lane addresses for the warp's first tile at k = 0.
    first: [Value<'c>; 2],
    k_in_rows: bool,
    /// 8×8 matrices are transposed on the way to the registers.
    transpose: bool,
    count: i64,
}

impl<'c> Emitter<'_, 'c> {
    fn emit_body(&self, chunks: &[Chunk; 2]) {
        let b = &self.builder;
        let schedule = self.schedule;
        let thread = self.dimension("gpu.thread_id", "x");
        let warp = LaneArithmetic::div(b, thread, LANES);
        let lane = LaneArithmetic::rem(b, thread, LANES);
        // Warps are laid out along m first.
        let warps_m = i64::from(schedule.warps().0);
        let warp_row = LaneArithmetic::mul(b, LaneArithmetic::rem(b, warp, warps_m), schedule.warp.m.into());
        let warp_column = LaneArithmetic::mul(b, LaneArithmetic::div(b, warp, warps_m), schedule.warp.n.into());
        let row = LaneArithmetic::mul(b, self.dimension("gpu.block_id", "x"), schedule.block.m.into());
        let column = LaneArithmetic::mul(b, self.dimension("gpu.block_id", "y"), schedule.block.n.into());
        let batch = (self.mm.batch > 1).then(|| self.dimension("gpu.block_id", "z"));
        let copies = [
            self.copies(0, COPY_A, &chunks[0], thread, row, batch),
            self.copies(1, COPY_B, &chunks[1], thread, column, batch),
        ];
        let tiles = [
            self.a_tiles(&chunks[0], lane, warp_row),
            self.b_tiles(&chunks[1], lane, warp_column),
        ];

        let f32_type = Type::f32(b.context());
        let zero = b.zero_vector(Type::vector(&[2, 2], f32_type), f32_type);
        let pieces = tiles[0].count * (i64::from(schedule.warp.n) / TILE_N);
        let inits = vec![zero; pieces as usize];
        let bounds = [0, self.mm.k as i64, i64::from(schedule.block_k())].map(|bound| b.index(bound));
        let sums = at(b, CHUNK_LOOP).for_loop(bounds[0], bounds[1], bounds[2], &inits, |body, k, sums| {
            // All loads, then all stores: without a pipeline their latencies at least overlap each other.
            let loads = |copies: &Copies<'c>| emit_piece_loads(&at(body, copies.statement), copies, k);
            let pieces: Vec<Vec<Value<'c>>> = copies.iter().map(loads).collect();
            for (copies, pieces) in copies.iter().zip(&pieces) {
                emit_piece_stores(&at(body, copies.statement), copies, pieces);
            }
            at(body, FILLED_BARRIER).op("gpu.barrier").build();
            let steps = at(body, STEP_LOOP);
            let bounds = [0, i64::from(schedule.block_k()), TILE].map(|bound| steps.index(bound));
            let inner = steps.for_loop(bounds[0], bounds[1], bounds[2], sums, |step, ki, sums| {
                emit_step(step, &tiles, ki, sums)
            });
            at(body, READ_BARRIER).op("gpu.barrier").build();
            inner.results().collect()
        });
        let sums: Vec<Value<'c>> = sums.results().collect();
        let origin = [b.add(row, warp_row), b.add(column, warp_column)];
        self.emit_epilogue(lane, origin, batch, &sums);
        b.op("gpu.return").build();
    }

    fn dimension(&self, name: &'static str, axis: &str) -> Value<'c> {
        let context = self.builder.context();
        // The C API has no constructor for this attribute.
        let axis = Attr::parse(context, &format!("#gpu<dim {axis}>")).expect("the gpu dialect is loaded");
        let index = Type::index(context);
        self.builder.op(name).attr("dimension", axis).result(index).value()
    }

    /// `origin`: where the block's tile starts along m or n.
    fn copies(
        &self,
        operand: usize,
        statement: Statement,
        chunk: &Chunk,
        thread: Value<'c>,
        origin: Value<'c>,
        batch: Option<Value<'c>>,
    ) -> Copies<'c> {
        let b = &at(&self.builder, statement);
        let per_row = i64::from(chunk.pieces_per_row());
        let threads = i64::from(self.schedule.threads());
        let row = LaneArithmetic::div(b, thread, per_row);
        let column = LaneArithmetic::mul(b, LaneArithmetic::rem(b, thread, per_row), PIECE);
        Copies {
            statement,
            global: self.global[operand],
            shared: self.shared[operand],
            batch,
            in_chunk: [row, column],
            in_global: if chunk.k_in_rows {
                [row, b.add(origin, column)]
            } else {
                [b.add(origin, row), column]
            },
            k_in_rows: chunk.k_in_rows,
            rows_apart: threads / per_row,
            count: chunk.pieces() as i64 / threads,
        }
    }

    fn a_tiles(&self, chunk: &Chunk, lane: Value<'c>, warp_row: Value<'c>) -> Tiles<'c> {
        let by_row = a_halves_by_row(self.mm.layout.a_transposed());
        Tiles {
            statement: LOAD_A,
            shared: self.shared[0],
            first: self.lane_address(LOAD_A, lane, by_row, chunk.k_in_rows, warp_row),
            k_in_rows: chunk.k_in_rows,
            transpose: self.mm.layout.a_transposed(),
            count: i64::from(self.schedule.warp.m) / TILE,
        }
    }

    fn b_tiles(&self, chunk: &Chunk, lane: Value<'c>, warp_column: Value<'c>) -> Tiles<'c> {
        let by_row = b_halves_by_row(self.mm.layout.b_transposed());
        Tiles {
            statement: LOAD_B,
            shared: self.shared[1],
            first: self.lane_address(LOAD_B, lane, by_row, chunk.k_in_rows, warp_column),
            k_in_rows: chunk.k_in_rows,
            transpose: !self.mm.layout.b_transposed(),
            count: i64::from(self.schedule.warp.n) / TILE,
        }
    }

    /// `warp`: where the warp's tile starts along m or n.
    fn lane_address(
        &self,
        statement: Statement,
        lane: Value<'c>,
        by_row: bool,
        k_in_rows: bool,
        warp: Value<'c>,
    ) -> [Value<'c>; 2] {
        let b = &at(&self.builder, statement);
        let (row, column) = ldmatrix_address(b, lane, by_row);
        if k_in_rows {
            [row, b.add(warp, column)]
        } else {
            [b.add(warp, row), column]
        }
    }

    fn emit_epilogue(&self, lane: Value<'c>, origin: [Value<'c>; 2], batch: Option<Value<'c>>, sums: &[Value<'c>]) {
        let b = &at(&self.builder, EPILOGUE);
        let context = b.context();
        let (lane_row, lane_column) = accumulator_position(b, lane);
        let (row, column) = (b.add(origin[0], lane_row), b.add(origin[1], lane_column));
        let n_tiles = i64::from(self.schedule.warp.n) / TILE_N;
        let pair = Type::vector(&[2], Type::f32(context));
        let narrow = (self.mm.out_dtype == DType::F16).then(|| Type::vector(&[2], Type::f16(context)));
        for (number, &sum) in (0..).zip(sums) {
            let (tile_row, tile_column) = (number / n_tiles * TILE, number % n_tiles * TILE_N);
            for half in 0..2 {
                let wide = b
                    .op("vector.extract")
                    .operands(&[sum])
                    .attr("static_position", Attr::dense_i64(context, &[half]))
                    .result(pair)
                    .value();
                let value = match narrow {
                    Some(narrow) => b.op("arith.truncf").operands(&[wide]).result(narrow).value(),
                    None => wide,
                };
                let mut operands = vec![value, self.global[2]];
                operands.extend(batch);
                operands.push(plus(b, row, tile_row + 8 * half));
                operands.push(plus(b, column, tile_column));
                b.op("vector.store")
                    .operands(&operands)
                    .attr("alignment", alignment(context, 2 * self.mm.out_dtype.bytes() as i64))
                    .build();
            }
        }
    }
}

/// Loads this thread's pieces of a chunk from global memory.
fn emit_piece_loads<'c>(b: &Builder<'c>, copies: &Copies<'c>, k: Value<'c>) -> Vec<Value<'c>> {
    let context = b.context();
    let [mut row, mut column] = copies.in_global;
    if copies.k_in_rows {
        row = b.add(row, k);
    } else {
        column = b.add(column, k);
    }
    let load = |number: i64| {
        let mut from = vec![copies.global];
        from.extend(copies.batch);
        from.extend([plus(b, row, number * copies.rows_apart), column]);
        b.op("vector.load")
            .operands(&from)
            .attr("alignment", alignment(context, i64::from(PIECE_BYTES)))
            .result(Type::vector(&[PIECE], Type::f16(context)))
            .value()
    };
    (0..copies.count).map(load).collect()
}

/// Stores them to shared memory.
fn emit_piece_stores<'c>(b: &Builder<'c>, copies: &Copies<'c>, pieces: &[Value<'c>]) {
    let [row, column] = copies.in_chunk;
    for (number, &piece) in (0..).zip(pieces) {
        let row = plus(b, row, number * copies.rows_apart);
        b.op("vector.store")
            .operands(&[piece, copies.shared, row, column])
            .attr("alignment", alignment(b.context(), i64::from(PIECE_BYTES)))
            .build();
    }
}

/// One k-step: all fragments, then all products, those of a row of A tiles together. Answers the new sums.
fn emit_step<'c>(step: &Builder<'c>, [a, b]: &[Tiles<'c>; 2], ki: Value<'c>, sums: &[Value<'c>]) -> Vec<Value<'c>> {
    let a_fragments = emit_loads(&at(step, a.statement), a, ki);
    let b_fragments = emit_loads(&at(step, b.statement), b, ki);
    let mma = at(step, MMA);
    let b_halves: Vec<Value<'c>> = b_fragments
        .iter()
        .flat_map(|&tile| [emit_half(&mma, tile, 0), emit_half(&mma, tile, 2)])
        .collect();
    let shape = Attr::i64_attrs(mma.context(), &[TILE, TILE_N, TILE]);
    let pairs = a_fragments.iter().flat_map(|&a| b_halves.iter().map(move |&b| (a, b)));
    pairs
        .zip(sums)
        .map(|((a, b), &sum)| {
            mma.op("nvgpu.mma.sync")
                .operands(&[a, b, sum])
                .attr("mmaShape", shape)
                .result(sum.ty())
                .value()
        })
        .collect()
}

/// All tiles of an operand for one k-step, each with `ldmatrix.x4`.
fn emit_loads<'c>(b: &Builder<'c>, tiles: &Tiles<'c>, ki: Value<'c>) -> Vec<Value<'c>> {
    let context = b.context();
    let fragment = Type::vector(&[4, 2], Type::f16(context));
    let [first_row, first_column] = tiles.first;
    let load = |tile: i64| {
        let [row, column] = if tiles.k_in_rows {
            [b.add(first_row, ki), plus(b, first_column, tile * TILE)]
        } else {
            [plus(b, first_row, tile * TILE), b.add(first_column, ki)]
        };
        b.op("nvgpu.ldmatrix")
            .operands(&[tiles.shared, row, column])
            .attr("transpose", Attr::bool(context, tiles.transpose))
            .attr("numTiles", Attr::int(Type::int(context, 32), 4))
            .result(fragment)
            .value()
    };
    (0..tiles.count).map(load).collect()
}

/// Two of the four registers of a B tile: those of one n-tile.
fn emit_half<'c>(builder: &Builder<'c>, tile: Value<'c>, first: i64) -> Value<'c> {
    let context = builder.context();
    builder
        .op("vector.extract_strided_slice")
        .operands(&[tile])
        .attr("offsets", Attr::i64_attrs(context, &[first]))
        .attr("sizes", Attr::i64_attrs(context, &[2]))
        .attr("strides", Attr::i64_attrs(context, &[1]))
        .result(Type::vector(&[2, 2], Type::f16(context)))
        .value()
}
