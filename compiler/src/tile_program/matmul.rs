//! Emits the matmul kernel. Its shape was checked by the caller.

use alcop_spec::{DType, Matmul, TileSchedule};

use super::PIECE_BYTES;
use super::fragments::{LaneArithmetic, a_halves_by_row, accumulator_position, b_halves_by_row, ldmatrix_address};
use crate::ir::{Attr, Builder, Context, Location, Module, Type, Value};

/// Lines of the listing in ARCHITECTURE.md that locations point to, so that remarks and `.loc` name a statement.
const LINE_KERNEL: u32 = 1;
const LINE_COPY_A: u32 = 2;
const LINE_COPY_B: u32 = 3;
const LINE_LOAD_A: u32 = 5;
const LINE_LOAD_B: u32 = 6;
const LINE_MMA: u32 = 7;
const LINE_LOOP: u32 = 8;
const LINE_STORE: u32 = 9;

/// Name, rows and columns of the chunks of A and B in shared memory, as stored.
pub(super) fn chunks(mm: &Matmul, schedule: &TileSchedule) -> [(&'static str, u32, u32); 2] {
    let (m, n, k) = (schedule.block.m, schedule.block.n, schedule.block_k());
    let (a_rows, a_columns) = if mm.layout.a_transposed() { (k, m) } else { (m, k) };
    let (b_rows, b_columns) = if mm.layout.b_transposed() { (n, k) } else { (k, n) };
    [("A", a_rows, a_columns), ("B", b_rows, b_columns)]
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

pub(super) fn emit<'c>(context: &'c Context, mm: &Matmul, schedule: &TileSchedule) -> Module<'c> {
    let location = Location::file(context, "matmul", LINE_KERNEL, 1);
    let module = Module::empty(context, location);
    module.op().set_attr("gpu.container_module", Attr::unit(context));
    // SAFETY of lifetimes: handles below are tied to the context; the module outlives this function by being returned.
    let body = unsafe { crate::ir::Block::from_raw(module.body().raw()) };
    let top = Builder::at_end(context, body, location);
    let (region, kernels) = top.region(&[]);
    top.op("gpu.module")
        .attr("sym_name", Attr::string(context, "kernels"))
        .region(region)
        .build();
    let inside = Builder::at_end(context, kernels, location);

    let f16 = Type::f16(context);
    let out = if mm.out_dtype == DType::F16 {
        f16
    } else {
        Type::f32(context)
    };
    let global = |shape: [u64; 2], element| {
        let mut extents: Vec<i64> = if mm.batch > 1 {
            vec![mm.batch as i64]
        } else {
            Vec::new()
        };
        extents.extend(shape.map(|extent| extent as i64));
        Type::memref(&extents, element, None)
    };
    let space = Attr::workgroup_space(context);
    let arguments = [
        global(mm.a_shape(), f16),
        global(mm.b_shape(), f16),
        global(mm.c_shape(), out),
    ];
    let shared = chunks(mm, schedule)
        .map(|(_, rows, columns)| Type::memref(&[i64::from(rows), i64::from(columns)], f16, Some(space)));
    let (region, block) = inside.region(&[arguments[0], arguments[1], arguments[2], shared[0], shared[1]]);
    kernel_op(&inside, &arguments, region, mm, schedule);

    let builder = Builder::at_end(context, block, location);
    Emitter {
        builder,
        mm,
        schedule,
        values: block.arguments().collect(),
    }
    .body();
    module
}

fn kernel_op<'c>(
    builder: &Builder<'c>,
    arguments: &[Type<'c>; 3],
    region: crate::ir::OwnedRegion,
    mm: &Matmul,
    schedule: &TileSchedule,
) {
    let context = builder.context();
    let i64_type = Type::int(context, 64);
    let argument = Attr::dictionary(
        context,
        &[
            ("llvm.align", Attr::int(i64_type, i64::from(PIECE_BYTES))),
            ("llvm.noalias", Attr::unit(context)),
        ],
    );
    let grid = [
        (mm.m / u64::from(schedule.block.m)) as i32,
        (mm.n / u64::from(schedule.block.n)) as i32,
        mm.batch as i32,
    ];
    builder
        .op("gpu.func")
        .attr("sym_name", Attr::string(context, "matmul"))
        .attr("function_type", Attr::ty(Type::function(context, arguments, &[])))
        .attr("arg_attrs", Attr::array(context, &[argument, argument, argument]))
        .attr("workgroup_attributions", Attr::int(i64_type, 2))
        .attr("gpu.kernel", Attr::unit(context))
        .attr(
            "known_block_size",
            Attr::dense_i32(context, &[schedule.threads() as i32, 1, 1]),
        )
        .attr("known_grid_size", Attr::dense_i32(context, &grid))
        .region(region)
        .build();
}

struct Emitter<'a, 'c> {
    builder: Builder<'c>,
    mm: &'a Matmul,
    schedule: &'a TileSchedule,
    /// A, B, C in global memory; the chunks of A and B in shared memory.
    values: Vec<Value<'c>>,
}

/// One operand's copies: what a thread adds to its own row and column for each piece.
struct CopyShape<'c> {
    line: u32,
    global: Value<'c>,
    shared: Value<'c>,
    /// Row and column in the chunk of this thread's first piece.
    row: Value<'c>,
    column: Value<'c>,
    /// Row and column in global memory where the block's first chunk starts.
    origin: [Value<'c>; 2],
    /// Which of the two global indices walks along k.
    k_index: usize,
    rows_apart: i64,
    count: i64,
}

impl<'c> Emitter<'_, 'c> {
    fn at(&self, builder: &Builder<'c>, line: u32) -> Builder<'c> {
        builder.with_location(Location::file(builder.context(), "matmul", line, 1))
    }

    fn body(&self) {
        let b = &self.builder;
        let context = b.context();
        let schedule = self.schedule;
        let thread = self.dimension("gpu.thread_id", "x");
        let lane = b.rem(thread, b.index(32));
        let warp = b.div(thread, b.index(32));
        let (warps_m, _) = schedule.warps();
        let warp_row = LaneArithmetic::mul(
            b,
            LaneArithmetic::rem(b, warp, i64::from(warps_m)),
            i64::from(schedule.warp.m),
        );
        let warp_column = LaneArithmetic::mul(
            b,
            LaneArithmetic::div(b, warp, i64::from(warps_m)),
            i64::from(schedule.warp.n),
        );
        let row = LaneArithmetic::mul(b, self.dimension("gpu.block_id", "x"), i64::from(schedule.block.m));
        let column = LaneArithmetic::mul(b, self.dimension("gpu.block_id", "y"), i64::from(schedule.block.n));
        let batch = (self.mm.batch > 1).then(|| self.dimension("gpu.block_id", "z"));
        let copies = [
            self.copy_shape(0, thread, row, self.mm.layout.a_transposed()),
            self.copy_shape(1, thread, column, !self.mm.layout.b_transposed()),
        ];
        let a_address = self.lane_address(
            lane,
            warp_row,
            self.mm.layout.a_transposed(),
            a_halves_by_row(self.mm.layout.a_transposed()),
        );
        // B stored k×n has its n offset in the columns, as a transposed A has its m offset.
        let b_address = self.lane_address(
            lane,
            warp_column,
            !self.mm.layout.b_transposed(),
            b_halves_by_row(self.mm.layout.b_transposed()),
        );

        let f32_type = Type::f32(context);
        let accumulator = Type::vector(&[2, 2], f32_type);
        let zero = b.zero_vector(accumulator, f32_type);
        let (m_tiles, n_tiles) = (schedule.warp.m / 16, schedule.warp.n / 8);
        let inits = vec![zero; (m_tiles * n_tiles) as usize];
        let (from, to, step) = (
            b.index(0),
            b.index(self.mm.k as i64),
            b.index(i64::from(schedule.block_k())),
        );
        let sums = self.at(b, LINE_LOOP).for_loop(from, to, step, &inits, |body, k, sums| {
            for copy in &copies {
                self.copy(body, copy, k, batch);
            }
            body.op("gpu.barrier").build();
            let chunk = body.index(i64::from(schedule.block_k()));
            let (zero, sixteen) = (body.index(0), body.index(16));
            let inner = body.for_loop(zero, chunk, sixteen, sums, |step, ki, sums| {
                self.k_step(step, ki, sums, a_address, b_address)
            });
            body.op("gpu.barrier").build();
            inner.results().collect()
        });
        let sums: Vec<Value<'c>> = sums.results().collect();
        let origin = [b.add(row, warp_row), b.add(column, warp_column)];
        self.epilogue(lane, origin, batch, &sums);
        b.op("gpu.return").build();
    }

    fn dimension(&self, name: &'static str, axis: &str) -> Value<'c> {
        let context = self.builder.context();
        let text = format!("#gpu<dim {axis}>");
        let axis = Attr::parse(context, &text).expect("the gpu dialect is loaded");
        self.builder
            .op(name)
            .attr("dimension", axis)
            .result(Type::index(context))
            .value()
    }

    /// `rows_are_k`: the first index of the operand walks along k.
    fn copy_shape(&self, operand: usize, thread: Value<'c>, origin: Value<'c>, rows_are_k: bool) -> CopyShape<'c> {
        let b = &self.builder;
        let (_, rows, columns) = chunks(self.mm, self.schedule)[operand];
        let per_row = i64::from(columns * 2 / PIECE_BYTES);
        let threads = i64::from(self.schedule.threads());
        let zero = b.index(0);
        CopyShape {
            line: [LINE_COPY_A, LINE_COPY_B][operand],
            global: self.values[operand],
            shared: self.values[3 + operand],
            row: LaneArithmetic::div(b, thread, per_row),
            column: LaneArithmetic::mul(b, LaneArithmetic::rem(b, thread, per_row), i64::from(PIECE_BYTES / 2)),
            origin: if rows_are_k { [zero, origin] } else { [origin, zero] },
            k_index: usize::from(!rows_are_k),
            rows_apart: threads / per_row,
            count: i64::from(rows) * per_row / threads,
        }
    }

    fn copy(&self, body: &Builder<'c>, copy: &CopyShape<'c>, k: Value<'c>, batch: Option<Value<'c>>) {
        let b = self.at(body, copy.line);
        let context = b.context();
        let piece = Type::vector(&[i64::from(PIECE_BYTES / 2)], Type::f16(context));
        let alignment = Attr::int(Type::int(context, 64), i64::from(PIECE_BYTES));
        for number in 0..copy.count {
            let row = b.add(copy.row, b.index(number * copy.rows_apart));
            let mut global = [b.add(copy.origin[0], row), b.add(copy.origin[1], copy.column)];
            global[copy.k_index] = b.add(global[copy.k_index], k);
            let mut operands = vec![copy.global];
            operands.extend(batch);
            operands.extend(global);
            let loaded = b
                .op("vector.load")
                .operands(&operands)
                .attr("alignment", alignment)
                .result(piece)
                .value();
            b.op("vector.store")
                .operands(&[loaded, copy.shared, row, copy.column])
                .attr("alignment", alignment)
                .build();
        }
    }

    /// Row and column in the chunk that this lane addresses for the warp's first 16×16 tile.
    fn lane_address(&self, lane: Value<'c>, warp: Value<'c>, warp_in_columns: bool, by_row: bool) -> [Value<'c>; 2] {
        let b = &self.builder;
        let (row, column) = ldmatrix_address(b, lane, by_row);
        if warp_in_columns {
            [row, b.add(column, warp)]
        } else {
            [b.add(row, warp), column]
        }
    }

    fn k_step(
        &self,
        step: &Builder<'c>,
        ki: Value<'c>,
        sums: &[Value<'c>],
        a: [Value<'c>; 2],
        b: [Value<'c>; 2],
    ) -> Vec<Value<'c>> {
        let layout = self.mm.layout;
        let schedule = self.schedule;
        let load_a = self.at(step, LINE_LOAD_A);
        let a_tiles: Vec<Value<'c>> = (0..schedule.warp.m / 16)
            .map(|tile| self.load_tile(&load_a, 3, a, ki, tile, layout.a_transposed(), layout.a_transposed()))
            .collect();
        let load_b = self.at(step, LINE_LOAD_B);
        let b_tiles: Vec<Value<'c>> = (0..schedule.warp.n / 16)
            .map(|tile| self.load_tile(&load_b, 4, b, ki, tile, !layout.b_transposed(), !layout.b_transposed()))
            .collect();
        let mma = self.at(step, LINE_MMA);
        let halves: Vec<Value<'c>> = b_tiles
            .iter()
            .flat_map(|&tile| [self.half(&mma, tile, 0), self.half(&mma, tile, 2)])
            .collect();
        let context = mma.context();
        let shape = Attr::i64_attrs(context, &[16, 8, 16]);
        let n_tiles = halves.len();
        sums.iter()
            .enumerate()
            .map(|(number, &sum)| {
                mma.op("nvgpu.mma.sync")
                    .operands(&[a_tiles[number / n_tiles], halves[number % n_tiles], sum])
                    .attr("mmaShape", shape)
                    .result(sum.ty())
                    .value()
            })
            .collect()
    }

    /// A 16×16 tile by `ldmatrix.x4`. `k_in_rows`: the chunk's rows walk along k, its columns along m or n.
    #[allow(clippy::too_many_arguments)]
    fn load_tile(
        &self,
        builder: &Builder<'c>,
        shared: usize,
        [row, column]: [Value<'c>; 2],
        ki: Value<'c>,
        tile: u32,
        k_in_rows: bool,
        transpose: bool,
    ) -> Value<'c> {
        let context = builder.context();
        let offset = builder.index(i64::from(tile * 16));
        let indices = if k_in_rows {
            [builder.add(row, ki), builder.add(column, offset)]
        } else {
            [builder.add(row, offset), builder.add(column, ki)]
        };
        builder
            .op("nvgpu.ldmatrix")
            .operands(&[self.values[shared], indices[0], indices[1]])
            .attr("transpose", Attr::bool(context, transpose))
            .attr("numTiles", Attr::int(Type::int(context, 32), 4))
            .result(Type::vector(&[4, 2], Type::f16(context)))
            .value()
    }

    fn half(&self, builder: &Builder<'c>, tile: Value<'c>, first: i64) -> Value<'c> {
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

    fn epilogue(&self, lane: Value<'c>, origin: [Value<'c>; 2], batch: Option<Value<'c>>, sums: &[Value<'c>]) {
        let b = self.at(&self.builder, LINE_STORE);
        let context = b.context();
        let (lane_row, lane_column) = accumulator_position(&b, lane);
        let (row, column) = (b.add(origin[0], lane_row), b.add(origin[1], lane_column));
        let n_tiles = (self.schedule.warp.n / 8) as usize;
        let out_bytes = self.mm.out_dtype.bytes() as i64;
        let pair = Type::vector(&[2], Type::f32(context));
        for (number, &sum) in sums.iter().enumerate() {
            let (tile_row, tile_column) = ((number / n_tiles * 16) as i64, (number % n_tiles * 8) as i64);
            for half in 0..2 {
                let mut value = b
                    .op("vector.extract")
                    .operands(&[sum])
                    .attr("static_position", Attr::dense_i64(context, &[half]))
                    .result(pair)
                    .value();
                if self.mm.out_dtype == DType::F16 {
                    let narrow = Type::vector(&[2], Type::f16(context));
                    value = b.op("arith.truncf").operands(&[value]).result(narrow).value();
                }
                let mut operands = vec![value, self.values[2]];
                operands.extend(batch);
                operands.push(b.add(row, b.index(tile_row + 8 * half)));
                operands.push(b.add(column, b.index(tile_column)));
                b.op("vector.store")
                    .operands(&operands)
                    .attr("alignment", Attr::int(Type::int(context, 64), 2 * out_bytes))
                    .build();
            }
        }
    }
}
