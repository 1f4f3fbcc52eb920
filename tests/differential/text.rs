//! The kernels of random programs, as MLIR: the loops, and what reads in them. Copies stand in `copies`.

use std::fmt::Write;

use super::program::{Buffer, Counter, Guard, Kind, Phase, Program, Reads};

impl Program {
    pub fn text(&self) -> String {
        let mut text = Text::default();
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let runs = self.runs().max(1);
        let noalias = "{llvm.noalias, llvm.align = 16 : i64}";
        let mut parameters = vec![format!("%trips: memref<6xi32> {noalias}")];
        for (number, buffer) in self.buffers.iter().enumerate() {
            let ty = buffer.source_type(chunks, threads);
            parameters.push(format!("%in{number}: {ty} {noalias}"));
            parameters.push(format!("%table{number}: memref<{chunks}xi32> {noalias}"));
        }
        parameters.push(format!("%out: memref<{runs}x{threads}xi32> {noalias}"));
        text.line(&format!("gpu.module @m {{ gpu.func @k({})", parameters.join(", ")));
        text.line(&format!(
            "kernel attributes {{known_block_size = array<i32: {threads}, 1, 1>}} {{"
        ));
        let constants = (0..=64).map(|number| format!("%c{number} = arith.constant {number} : index"));
        text.line(&constants.collect::<Vec<String>>().join(" "));
        text.line("%one = arith.constant 1 : i32");
        text.line("%factor = arith.constant 31 : i32");
        text.line("%t = gpu.thread_id x");
        text.line("%said = memref.load %trips[%c5] : memref<6xi32>");
        text.line("%flag0 = arith.cmpi eq, %said, %one : i32");
        text.line("%flag1 = arith.cmpi ne, %said, %one : i32");
        let half = threads / 2;
        text.line(&format!("%lane = arith.remui %t, %c{half} : index"));
        text.line(&format!("%team = arith.divui %t, %c{half} : index"));
        text.line(&format!("%other = arith.addi %lane, %c{half} : index"));
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
        for (level, outer) in self.outer.iter().enumerate() {
            let bound = self.bound(&mut text, level, outer);
            let names = [&format!("%after{level}"), &format!("%acc{level}")];
            let at = text.open(outer.counter, &bound, "%c1", (names, &carried));
            text.line(&format!("%scaled{level} = arith.muli {run}, %c{} : index", outer.trip));
            text.line(&format!("%run{level} = arith.addi %scaled{level}, {at} : index"));
            run = format!("%run{level}");
            carried = format!("%acc{level}");
        }
        text.line(&format!(
            "%first = arith.muli {run}, %c{} : index",
            self.chunks_of_run()
        ));
        let mut value = self.in_front(&mut text, &carried);
        for (phase, entry) in self.phases.iter().enumerate() {
            value = self.phase(&mut text, phase, entry, &value);
        }
        let stored = match self.stage() {
            Some(stage) => self.staged(&mut text, stage, &value),
            None => value.clone(),
        };
        text.line(&format!(
            "memref.store {stored}, %out[{run}, %t] : memref<{runs}x{threads}xi32>"
        ));
        for level in (0..self.outer.len()).rev() {
            text.line(&format!("scf.yield {value} : i32 }}"));
            value = format!("%after{level}");
        }
        text.line("gpu.return } }");
        text.out
    }

    /// Fills and reads buffers in front of the loops; the name of the sum.
    fn in_front(&self, text: &mut Text, value: &str) -> String {
        let mut value = value.to_owned();
        let leading = |buffer: &Buffer| Some(buffer.leading(buffer.lead?));
        let buffers: Vec<(usize, Buffer)> = self
            .buffers
            .iter()
            .map(leading)
            .enumerate()
            .filter_map(present)
            .collect();
        if buffers.is_empty() {
            return value;
        }
        text.line("%chunkL = arith.addi %first, %c0 : index");
        for (number, buffer) in &buffers {
            self.copies(text, (*number, buffer), ("L", 0), "%c0");
        }
        text.line("gpu.barrier");
        for (number, buffer) in &buffers {
            value = self.reads(text, (*number, buffer), "L", &value);
        }
        text.line("gpu.barrier");
        value
    }

    /// A loop that copies and reads all buffers; the name of the sum.
    fn phase(&self, text: &mut Text, phase: usize, entry: &Phase, value: &str) -> String {
        let name = phase.to_string();
        let bound = self.bound(text, self.outer.len() + phase, entry);
        let names = [&format!("%sum{phase}"), &format!("%acc_{phase}")];
        let at = text.open(entry.counter, &bound, "%c1", (names, value));
        text.line(&format!(
            "%before{phase} = arith.addi %first, %c{} : index",
            self.first_chunk(phase)
        ));
        text.line(&format!("%chunk{phase} = arith.addi %before{phase}, {at} : index"));
        text.line(&format!("%third{phase} = arith.remui {at}, %c3 : index"));
        text.line(&format!("%on{phase} = arith.cmpi ne, %third{phase}, %c1 : index"));
        for (number, buffer) in self.buffers.iter().enumerate() {
            self.copies(text, (number, buffer), (&name, phase), &at);
        }
        let tokens: Vec<String> = std::mem::take(&mut text.tokens);
        if !tokens.is_empty() {
            text.line(&format!(
                "%group{phase} = nvgpu.device_async_create_group {}",
                tokens.join(", ")
            ));
            text.line(&format!("nvgpu.device_async_wait %group{phase}"));
        }
        text.line("gpu.barrier");
        let mut value = format!("%acc_{phase}");
        for (number, buffer) in self.buffers.iter().enumerate() {
            value = self.reads(text, (number, buffer), &name, &value);
        }
        text.line("gpu.barrier");
        text.line(&format!("scf.yield {value} : i32 }}"));
        format!("%sum{phase}")
    }

    /// Sends the sums through a buffer; the name of what comes back.
    fn staged(&self, text: &mut Text, stage: usize, sum: &str) -> String {
        let shared = self.buffers[stage].shared_type(self.threads);
        text.line(&format!("memref.store {sum}, %b{stage}[%t, %c0] : {shared}"));
        text.line("gpu.barrier");
        text.line(&format!("%staged = memref.load %b{stage}[%row{stage}, %c0] : {shared}"));
        text.line("gpu.barrier");
        "%staged".to_owned()
    }

    fn bound(&self, text: &mut Text, level: usize, phase: &Phase) -> Bound {
        if !phase.dynamic {
            return Bound::Constant(phase.trip);
        }
        let name = format!("%loaded{level}");
        text.line(&format!("{name} = memref.load %trips[%c{level}] : memref<6xi32>"));
        Bound::Loaded(name, phase.trip)
    }

    /// Reads a buffer into the accumulator; the name of the new one.
    fn reads(&self, text: &mut Text, (number, buffer): (usize, &Buffer), phase: &str, value: &str) -> String {
        let shared = buffer.shared_type(self.threads);
        let (columns, lanes) = (buffer.columns(), buffer.lanes());
        let skipped = buffer.guard == Guard::Skipped;
        let name = format!("{phase}_{number}");
        let result = format!("%mixed{name}");
        if skipped {
            text.line(&format!("{result} = scf.if %on{phase} -> (i32) {{"));
        }
        let inner = if skipped {
            format!("%inside{name}")
        } else {
            result.clone()
        };
        if buffer.reads == Reads::Direct {
            text.line(&format!(
                "%x{name} = memref.load %b{number}[%row{number}, %c0] : {shared}"
            ));
            let element = buffer.widened(text, &format!("%x{name}"), &name);
            text.mix(value, &element, &inner, &format!("d{name}"));
        } else {
            let (mut memref, mut ty, mut row) = (format!("%b{number}"), shared.clone(), format!("%row{number}"));
            if buffer.reads == Reads::Viewed {
                ty = format!(
                    "memref<1x{columns}x{}, strided<[{columns}, 1], offset: ?>, #gpu.address_space<workgroup>>",
                    buffer.shared_kind().name()
                );
                memref = format!("%view{name}");
                text.line(&format!(
                    "{memref} = memref.subview %b{number}[{row}, 0] [1, {columns}] [1, 1] : {shared} to {ty}"
                ));
                row = "%c0".to_owned();
            }
            let names = [&inner, &format!("%p{name}")];
            let bound = Bound::Constant(columns);
            let at = text.open(buffer.read_counter, &bound, &format!("%c{lanes}"), (names, value));
            let vector = buffer.shared_vector_type(lanes);
            text.line(&format!(
                "%x{name} = vector.load {memref}[{row}, {at}] : {ty}, {vector}"
            ));
            let mut last = format!("%p{name}");
            for lane in 0..lanes {
                let element = format!("%l{name}_{lane}");
                text.line(&format!(
                    "{element} = vector.extract %x{name}[{lane}] : {} from {vector}",
                    buffer.shared_kind().name()
                ));
                let element = buffer.widened(text, &element, &format!("{name}_{lane}"));
                let next = format!("%m{name}_{lane}");
                text.mix(&last, &element, &next, &format!("{name}_{lane}"));
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

fn present<T>((number, value): (usize, Option<T>)) -> Option<(usize, T)> {
    Some((number, value?))
}

impl Buffer {
    pub fn source_type(&self, chunks: usize, threads: usize) -> String {
        let (columns, pitch) = (self.source_columns(), self.pitch());
        let layout = match pitch == columns {
            true => String::new(),
            false => format!(", strided<[{}, {pitch}, 1]>", threads * pitch),
        };
        format!("memref<{chunks}x{threads}x{columns}x{}{layout}>", self.kind.name())
    }

    pub fn shared_type(&self, threads: usize) -> String {
        format!(
            "memref<{threads}x{}x{}, #gpu.address_space<workgroup>>",
            self.columns(),
            self.shared_kind().name()
        )
    }

    pub fn vector_type(&self, lanes: usize) -> String {
        format!("vector<{lanes}x{}>", self.kind.name())
    }

    pub fn shared_vector_type(&self, lanes: usize) -> String {
        format!("vector<{lanes}x{}>", self.shared_kind().name())
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

/// How far a loop counts.
pub enum Bound {
    Constant(usize),
    /// An `i32` with this name, and its value.
    Loaded(String, usize),
}

#[derive(Default)]
pub struct Text {
    out: String,
    pub tokens: Vec<String>,
    named: usize,
}

impl Text {
    pub fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("text");
    }

    /// A name that no other value has.
    pub fn name(&mut self) -> String {
        self.named += 1;
        format!("%n{}", self.named)
    }

    /// A value with a name of its own.
    pub fn value(&mut self, op: &str) -> String {
        let name = self.name();
        self.line(&format!("{name} = {op}"));
        name
    }

    /// A constant in every element of a vector.
    pub fn splat(&mut self, element: &str, ty: &str) -> String {
        self.value(&format!("arith.constant dense<{element}> : {ty}"))
    }

    fn mix(&mut self, accumulator: &str, value: &str, result: &str, name: &str) {
        self.line(&format!("%by{name} = arith.muli {accumulator}, %factor : i32"));
        self.line(&format!("{result} = arith.addi %by{name}, {value} : i32"));
    }

    /// Opens a loop that carries a sum; the name of what counts from 0 in it.
    fn open(&mut self, counter: Counter, bound: &Bound, step: &str, carried: ([&String; 2], &str)) -> String {
        let ([result, accumulator], value) = carried;
        let head = format!("{result} = ");
        let tail = format!("iter_args({accumulator} = {value}) -> (i32)");
        self.open_loop(counter, bound, step, (&head, &tail))
    }

    /// Opens a loop; the name of what counts from 0 in it.
    pub fn open_loop(&mut self, counter: Counter, bound: &Bound, step: &str, around: (&str, &str)) -> String {
        let (head, tail) = around;
        let ty = counter.ty();
        let extent = match bound {
            Bound::Constant(extent) | Bound::Loaded(_, extent) => *extent,
        };
        let first = counter.first(extent);
        let constant = |text: &mut Text, number: i64| match (counter.bits, number) {
            (0, 0..=64) => format!("%c{number}"),
            _ => text.value(&format!("arith.constant {number} : {ty}")),
        };
        let lower = constant(self, first);
        let upper = match bound {
            Bound::Constant(_) => constant(self, counter.wrapped(i128::from(first) + extent as i128)),
            Bound::Loaded(name, _) => {
                let count = match counter.bits {
                    0 => self.value(&format!("arith.index_cast {name} : i32 to index")),
                    64 => self.value(&format!("arith.extui {name} : i32 to i64")),
                    _ => name.clone(),
                };
                match first {
                    0 => count,
                    _ => self.value(&format!("arith.addi {count}, {lower} : {ty}")),
                }
            }
        };
        let step = match counter.bits {
            0 => step.to_owned(),
            _ => {
                let number: i64 = step.trim_start_matches("%c").parse().expect("a constant");
                constant(self, number)
            }
        };
        let name = self.name();
        let unsigned = if counter.unsigned { "unsigned " } else { "" };
        let typed = if counter.bits == 0 {
            String::new()
        } else {
            format!(" : {ty}")
        };
        self.line(&format!(
            "{head}scf.for {unsigned}{name} = {lower} to {upper} step {step} {tail}{typed} {{"
        ));
        let near = match first {
            0 => name,
            _ => self.value(&format!("arith.subi {name}, {lower} : {ty}")),
        };
        match (counter.bits, counter.unsigned) {
            (0, _) => near,
            (_, true) => self.value(&format!("arith.index_castui {near} : {ty} to index")),
            (_, false) => self.value(&format!("arith.index_cast {near} : {ty} to index")),
        }
    }
}
