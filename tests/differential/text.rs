//! The kernels of random nests, as MLIR.

use std::fmt::Write;

use super::program::{Buffer, Form, Guard, Kind, Program, Reads, WORK};

impl Program {
    pub fn text(&self) -> String {
        let mut text = Text::default();
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let runs: usize = self.outer.iter().map(|(trip, _)| trip).product();
        let noalias = "{llvm.noalias, llvm.align = 16 : i64}";
        let mut parameters = vec![format!("%trips: memref<4xi32> {noalias}")];
        for (number, buffer) in self.buffers.iter().enumerate() {
            let ty = buffer.source_type(chunks, threads);
            parameters.push(format!("%in{number}: {ty} {noalias}"));
            parameters.push(format!("%table{number}: memref<{chunks}xi32> {noalias}"));
        }
        parameters.push(format!("%out: memref<{}x{threads}xi32> {noalias}", runs.max(1)));
        text.line(&format!("gpu.module @m {{ gpu.func @k({})", parameters.join(", ")));
        text.line(&format!(
            "kernel attributes {{known_block_size = array<i32: {threads}, 1, 1>}} {{"
        ));
        for constant in 0..=64 {
            text.line(&format!("%c{constant} = arith.constant {constant} : index"));
        }
        text.line("%one = arith.constant 1 : i32");
        text.line("%factor = arith.constant 31 : i32");
        text.line("%t = gpu.thread_id x");
        for (number, buffer) in self.buffers.iter().enumerate() {
            text.line(&format!(
                "%b{number} = memref.alloc() : {}",
                buffer.shared_type(threads)
            ));
            text.line(&format!("%turned{number} = arith.addi %t, %c{} : index", buffer.turn));
            text.line(&format!(
                "%row{number} = arith.remui %turned{number}, %c{threads} : index"
            ));
        }
        let mut carried = "%one".to_owned();
        let mut run = "%c0".to_owned();
        for (level, (trip, dynamic)) in self.outer.iter().enumerate() {
            let bound = self.bound(&mut text, level, *trip, *dynamic);
            text.line(&format!(
                "%after{level} = scf.for %g{level} = %c0 to {bound} step %c1 iter_args(%acc{level} = {carried}) -> (i32) {{"
            ));
            text.line(&format!("%scaled{level} = arith.muli {run}, %c{trip} : index"));
            text.line(&format!("%run{level} = arith.addi %scaled{level}, %g{level} : index"));
            run = format!("%run{level}");
            carried = format!("%acc{level}");
        }
        let bound = self.bound(&mut text, self.outer.len(), self.trip.0, self.trip.1);
        text.line(&format!(
            "%sum = scf.for %i = %c0 to {bound} step %c1 iter_args(%acc = {carried}) -> (i32) {{"
        ));
        text.line(&format!("%before = arith.muli {run}, %c{} : index", self.trip.0));
        text.line("%chunk = arith.addi %before, %i : index");
        text.line("%third = arith.remui %i, %c3 : index");
        text.line("%on = arith.cmpi ne, %third, %c1 : index");
        text.line("%it = arith.addi %i, %t : index");
        text.line("%itthird = arith.remui %it, %c3 : index");
        text.line("%iton = arith.cmpi ne, %itthird, %c0 : index");
        for (number, buffer) in self.buffers.iter().enumerate() {
            self.copies(&mut text, number, buffer);
        }
        let tokens: Vec<String> = std::mem::take(&mut text.tokens);
        if !tokens.is_empty() {
            text.line(&format!(
                "%group = nvgpu.device_async_create_group {}",
                tokens.join(", ")
            ));
            text.line("nvgpu.device_async_wait %group");
        }
        text.line("gpu.barrier");
        let mut value = "%acc".to_owned();
        for (number, buffer) in self.buffers.iter().enumerate() {
            value = self.reads(&mut text, number, buffer, &value);
        }
        text.line("gpu.barrier");
        text.line(&format!("scf.yield {value} : i32 }}"));
        let mut yielded = "%sum".to_owned();
        let stored = match self.stage() {
            Some(stage) => self.staged(&mut text, stage),
            None => "%sum",
        };
        text.line(&format!(
            "memref.store {stored}, %out[{run}, %t] : memref<{}x{threads}xi32>",
            runs.max(1)
        ));
        for level in (0..self.outer.len()).rev() {
            text.line(&format!("scf.yield {yielded} : i32 }}"));
            yielded = format!("%after{level}");
        }
        text.line("gpu.return } }");
        text.out
    }

    /// Sends the sums through a buffer; the name of what comes back.
    fn staged(&self, text: &mut Text, stage: usize) -> &'static str {
        let shared = self.buffers[stage].shared_type(self.threads);
        text.line(&format!("memref.store %sum, %b{stage}[%t, %c0] : {shared}"));
        text.line("gpu.barrier");
        text.line(&format!("%staged = memref.load %b{stage}[%row{stage}, %c0] : {shared}"));
        text.line("gpu.barrier");
        "%staged"
    }

    fn bound(&self, text: &mut Text, level: usize, trip: usize, dynamic: bool) -> String {
        if !dynamic {
            return format!("%c{trip}");
        }
        text.line(&format!(
            "%loaded{level} = memref.load %trips[%c{level}] : memref<4xi32>"
        ));
        text.line(&format!(
            "%bound{level} = arith.index_cast %loaded{level} : i32 to index"
        ));
        format!("%bound{level}")
    }

    fn copies(&self, text: &mut Text, number: usize, buffer: &Buffer) {
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let (source, shared) = (buffer.source_type(chunks, threads), buffer.shared_type(threads));
        let (vector, lanes) = (buffer.vector_type(), buffer.lanes());
        if buffer.guard == Guard::Skipped {
            text.line("scf.if %on {");
        }
        let mut from = "%chunk".to_owned();
        if buffer.looked_up {
            text.line(&format!(
                "%entry{number} = memref.load %table{number}[%chunk] : memref<{chunks}xi32>"
            ));
            text.line(&format!(
                "%from{number} = arith.index_cast %entry{number} : i32 to index"
            ));
            from = format!("%from{number}");
        }
        if matches!(buffer.guard, Guard::Filled | Guard::Zeros) {
            let zero = buffer.kind.zero();
            text.line(&format!("%zeros{number} = arith.constant dense<{zero}> : {vector}"));
        }
        if buffer.work {
            let worked = buffer.shared_vector_type();
            if buffer.kind.is_float() {
                text.line(&format!("%work{number} = arith.constant dense<0.5> : {worked}"));
                text.line(&format!("%none{number} = arith.constant dense<0.0> : {worked}"));
            } else {
                text.line(&format!("%work{number} = arith.constant dense<{WORK}> : {worked}"));
            }
        }
        if buffer.form == Form::Whole {
            let columns = buffer.columns();
            let layout = format!("strided<[{columns}, 1], offset: ?>");
            let tile = format!("memref<{threads}x{columns}x{}, {layout}>", buffer.kind.name());
            text.line(&format!(
                "%tile{number} = memref.subview %in{number}[{from}, 0, 0] [1, {threads}, {columns}] [1, 1, 1] : {source} to {tile}"
            ));
            text.line(&format!("memref.copy %tile{number}, %b{number} : {tile} to {shared}"));
        } else {
            let looped = buffer.form == Form::Looped;
            let pieces = if looped { 1 } else { buffer.pieces };
            if looped {
                text.line(&format!(
                    "scf.for %q{number} = %c0 to %c{} step %c{lanes} {{",
                    buffer.columns()
                ));
            }
            for piece in 0..pieces {
                let column = if looped {
                    format!("%q{number}")
                } else {
                    format!("%c{}", piece * lanes)
                };
                let place = format!("%b{number}[%t, {column}]");
                let name = format!("{number}_{piece}");
                let origin = format!("%in{number}[{from}, %t, {column}]");
                let load = match buffer.form {
                    Form::Transfer => format!("vector.transfer_read {origin}, %pad{name} : {source}, {vector}"),
                    _ => format!("vector.load {origin} : {source}, {vector}"),
                };
                if buffer.form == Form::Transfer {
                    text.line(&format!(
                        "%pad{name} = arith.constant {} : {}",
                        buffer.kind.zero(),
                        buffer.kind.name()
                    ));
                }
                let stored = buffer.shared_vector_type();
                let store = |value: &str| format!("vector.store {value}, {place} : {shared}, {stored}");
                match (buffer.form, buffer.guard) {
                    (Form::Waited, _) => {
                        let bypass = if buffer.width == 16 { " {bypassL1}" } else { "" };
                        text.line(&format!(
                            "%token{name} = nvgpu.device_async_copy {origin}, {place}, {lanes}{bypass} : {source} to {shared}"
                        ));
                        text.tokens.push(format!("%token{name}"));
                    }
                    (_, Guard::Always | Guard::Skipped) => {
                        text.line(&format!("%v{name} = {load}"));
                        if buffer.work && buffer.kind.is_float() {
                            let mut value = format!("%v{name}");
                            if buffer.cast {
                                text.line(&format!("%cast{name} = arith.extf {value} : {vector} to {stored}"));
                                value = format!("%cast{name}");
                            }
                            text.line(&format!("%half{name} = arith.mulf {value}, %work{number} : {stored}"));
                            text.line(&format!(
                                "%worked{name} = arith.maximumf %half{name}, %none{number} : {stored}"
                            ));
                            text.line(&store(&format!("%worked{name}")));
                        } else if buffer.work {
                            text.line(&format!(
                                "%changed{name} = arith.xori %v{name}, %work{number} : {vector}"
                            ));
                            text.line(&format!(
                                "%worked{name} = arith.addi %changed{name}, %changed{name} : {vector}"
                            ));
                            text.line(&store(&format!("%worked{name}")));
                        } else {
                            text.line(&store(&format!("%v{name}")));
                        }
                    }
                    (_, Guard::Filled) => {
                        text.line(&format!("%v{name} = scf.if %iton -> ({vector}) {{"));
                        text.line(&format!("%w{name} = {load}"));
                        text.line(&format!("scf.yield %w{name} : {vector} }} else {{"));
                        text.line(&format!("scf.yield %zeros{number} : {vector} }}"));
                        text.line(&store(&format!("%v{name}")));
                    }
                    (_, Guard::Zeros) => {
                        text.line("scf.if %iton {");
                        text.line(&format!("%v{name} = {load}"));
                        text.line(&store(&format!("%v{name}")));
                        text.line("} else {");
                        text.line(&store(&format!("%zeros{number}")));
                        text.line("}");
                    }
                }
            }
            if looped {
                text.line("}");
            }
        }
        if buffer.guard == Guard::Skipped {
            text.line("}");
        }
    }

    /// Reads a buffer into the accumulator; the name of the new one.
    fn reads(&self, text: &mut Text, number: usize, buffer: &Buffer, value: &str) -> String {
        let shared = buffer.shared_type(self.threads);
        let (columns, lanes) = (buffer.columns(), buffer.lanes());
        let skipped = buffer.guard == Guard::Skipped;
        let result = format!("%mixed{number}");
        if skipped {
            text.line(&format!("{result} = scf.if %on -> (i32) {{"));
        }
        let inner = if skipped {
            format!("%inside{number}")
        } else {
            result.clone()
        };
        if buffer.reads == Reads::Direct {
            text.line(&format!(
                "%x{number} = memref.load %b{number}[%row{number}, %c0] : {shared}"
            ));
            let element = buffer.widened(text, &format!("%x{number}"), &format!("{number}"));
            text.mix(value, &element, &inner, &format!("d{number}"));
        } else {
            let (mut memref, mut ty, mut row) = (format!("%b{number}"), shared.clone(), format!("%row{number}"));
            if buffer.reads == Reads::Viewed {
                ty = format!(
                    "memref<1x{columns}x{}, strided<[{columns}, 1], offset: ?>, #gpu.address_space<workgroup>>",
                    buffer.shared_kind().name()
                );
                memref = format!("%view{number}");
                text.line(&format!(
                    "{memref} = memref.subview %b{number}[{row}, 0] [1, {columns}] [1, 1] : {shared} to {ty}"
                ));
                row = "%c0".to_owned();
            }
            text.line(&format!(
                "{inner} = scf.for %s{number} = %c0 to %c{columns} step %c{lanes} iter_args(%p{number} = {value}) -> (i32) {{"
            ));
            text.line(&format!(
                "%x{number} = vector.load {memref}[{row}, %s{number}] : {ty}, {}",
                buffer.shared_vector_type()
            ));
            let mut last = format!("%p{number}");
            for lane in 0..lanes {
                text.line(&format!(
                    "%l{number}_{lane} = vector.extract %x{number}[{lane}] : {} from {}",
                    buffer.shared_kind().name(),
                    buffer.shared_vector_type()
                ));
                let element = buffer.widened(text, &format!("%l{number}_{lane}"), &format!("{number}_{lane}"));
                let next = format!("%m{number}_{lane}");
                text.mix(&last, &element, &next, &format!("{number}_{lane}"));
                last = next;
            }
            text.line(&format!("scf.yield {last} : i32 }}"));
        }
        if skipped {
            text.line(&format!(
                "scf.yield {inner} : i32 }} else {{ scf.yield {value} : i32 }}"
            ));
        }
        result
    }
}

impl Buffer {
    fn source_type(&self, chunks: usize, threads: usize) -> String {
        format!(
            "memref<{chunks}x{threads}x{}x{}>",
            self.source_columns(),
            self.kind.name()
        )
    }

    fn shared_type(&self, threads: usize) -> String {
        format!(
            "memref<{threads}x{}x{}, #gpu.address_space<workgroup>>",
            self.columns(),
            self.shared_kind().name()
        )
    }

    fn vector_type(&self) -> String {
        format!("vector<{}x{}>", self.lanes(), self.kind.name())
    }

    fn shared_vector_type(&self) -> String {
        format!("vector<{}x{}>", self.lanes(), self.shared_kind().name())
    }

    /// The bits of an element as 32 of an integer.
    fn widened(&self, text: &mut Text, value: &str, name: &str) -> String {
        match self.shared_kind() {
            Kind::I32 => return value.to_owned(),
            Kind::I16 => text.line(&format!("%wide{name} = arith.extui {value} : i16 to i32")),
            Kind::F32 => text.line(&format!("%wide{name} = arith.bitcast {value} : f32 to i32")),
            narrow @ (Kind::F16 | Kind::Bf16) => {
                text.line(&format!("%float{name} = arith.extf {value} : {} to f32", narrow.name()));
                text.line(&format!("%wide{name} = arith.bitcast %float{name} : f32 to i32"));
            }
        }
        format!("%wide{name}")
    }
}

impl Kind {
    fn zero(self) -> &'static str {
        if self.is_float() { "0.0" } else { "0" }
    }
}

#[derive(Default)]
struct Text {
    out: String,
    tokens: Vec<String>,
}

impl Text {
    fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("text");
    }

    fn mix(&mut self, accumulator: &str, value: &str, result: &str, name: &str) {
        self.line(&format!("%by{name} = arith.muli {accumulator}, %factor : i32"));
        self.line(&format!("{result} = arith.addi %by{name}, {value} : i32"));
    }
}
