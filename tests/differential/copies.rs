//! The copies of random programs, as MLIR.
//!
//! ```text
//! Guard::Selected, Place::Behind     v = load; g = select on, v, 0; w = work g; store w
//! Guard::Selected, Place::Worked     v = load; w = work v; g = select on, w, work(0); store g
//! half: Some(1)                      if thread / half == 1 { rows lane and lane + half }
//! ```

use super::program::{Buffer, Form, Guard, Place, Program};
use super::text::{Bound, Text};
use super::work::{
    ADDED, Element, FLAGS, FLOAT_LIMIT, FLOAT_OTHER, FLOAT_PREDICATES, LIMIT, MASK, OTHER, PREDICATES, Work,
};

/// One piece of a row.
struct Piece<'a> {
    buffer: &'a Buffer,
    /// `in[chunk, row, column] : type`, taken apart.
    origin: String,
    source: String,
    place: String,
    shared: String,
    column: String,
    lanes: usize,
    /// Whether its row is copied.
    on: String,
    work: Work,
    hinted: bool,
}

impl Program {
    /// The copies of one buffer in the loop of a name, or in front of them.
    pub fn copies(
        &self,
        text: &mut Text,
        (number, buffer): (usize, &Buffer),
        (name, phase): (&str, usize),
        iteration: &str,
    ) {
        let threads = self.threads;
        let chunks = self.chunks().max(1);
        let source = buffer.source_type(chunks, threads);
        let skipped = buffer.guard == Guard::Skipped;
        if skipped {
            text.line(&format!("scf.if %on{name} {{"));
        }
        let mut from = format!("%chunk{name}");
        if buffer.looked_up {
            let entry = text.value(&format!("memref.load %table{number}[{from}] : memref<{chunks}xi32>"));
            from = text.value(&format!("arith.index_cast {entry} : i32 to index"));
        }
        if let Some(half) = buffer.half {
            let own = text.value(&format!("arith.cmpi eq, %team, %c{half} : index"));
            text.line(&format!("scf.if {own} {{"));
        }
        let rows: &[&str] = if buffer.half.is_some() {
            &["%lane", "%other"]
        } else {
            &["%t"]
        };
        if buffer.form == Form::Whole {
            buffer.copy_rows(
                text,
                number,
                (&from, "0", threads),
                [&source, &buffer.shared_type(threads)],
            );
        } else {
            for row in rows {
                self.row(text, (number, buffer), phase, [&from, row, iteration]);
            }
        }
        for _ in 0..usize::from(buffer.half.is_some()) + usize::from(skipped) {
            text.line("}");
        }
    }

    /// One row.
    fn row(&self, text: &mut Text, (number, buffer): (usize, &Buffer), phase: usize, at: [&str; 3]) {
        let [from, row, iteration] = at;
        let source = buffer.source_type(self.chunks().max(1), self.threads);
        let shared = buffer.shared_type(self.threads);
        let on = match buffer.guard {
            Guard::Always | Guard::Skipped => String::new(),
            Guard::Filled | Guard::Selected | Guard::Masked | Guard::Zeros => {
                let sum = text.value(&format!("arith.addi {iteration}, {row} : index"));
                let third = text.value(&format!("arith.remui {sum}, %c3 : index"));
                let predicate = if buffer.is_inverted() { "eq" } else { "ne" };
                text.value(&format!("arith.cmpi {predicate}, {third}, %c0 : index"))
            }
        };
        let spans = buffer.spans();
        if buffer.form == Form::OwnRows {
            if buffer.guard == Guard::Zeros {
                text.branches(
                    buffer.is_inverted(),
                    &on,
                    |text| buffer.copy_rows(text, number, (from, row, 1), [&source, &shared]),
                    |text| {
                        for (column, lanes) in &spans {
                            let ty = buffer.vector_type(*lanes);
                            let zeros = text.splat(&Element::zero(buffer.kind).text(), &ty);
                            text.line(&format!(
                                "vector.store {zeros}, %b{number}[{row}, %c{column}] : {shared}, {ty}"
                            ));
                        }
                    },
                );
            } else {
                buffer.copy_rows(text, number, (from, row, 1), [&source, &shared]);
            }
            return;
        }
        let looped = buffer.form == Form::Looped;
        let spans = if looped { &spans[..1] } else { &spans[..] };
        for (index, (column, lanes)) in spans.iter().enumerate() {
            let mut column = format!("%c{column}");
            if looped {
                let bound = Bound::Constant(buffer.columns());
                column = text.open_loop(buffer.copy_counter, &bound, &format!("%c{lanes}"), ("", ""));
            }
            let piece = Piece {
                buffer,
                origin: format!("%in{number}[{from}, {row}, {column}]"),
                source: source.clone(),
                place: format!("%b{number}[{row}, {column}]"),
                shared: shared.clone(),
                column,
                lanes: *lanes,
                on: on.clone(),
                work: buffer.work(phase, index),
                hinted: buffer.hints && index % 2 == 1,
            };
            piece.copy(text);
            if looped {
                text.line("}");
            }
        }
    }
}

impl Buffer {
    /// Whether conditions say where it is not copied.
    fn is_inverted(&self) -> bool {
        self.turn % 2 == 1
    }

    /// `memref.copy` of some rows.
    fn copy_rows(&self, text: &mut Text, number: usize, at: (&str, &str, usize), types: [&str; 2]) {
        let (from, row, rows) = at;
        let [source, shared] = types;
        let (columns, kind) = (self.columns(), self.kind.name());
        let layout = format!("strided<[{columns}, 1], offset: ?>");
        let tile = format!("memref<{rows}x{columns}x{kind}, {layout}>");
        let taken = text.value(&format!(
            "memref.subview %in{number}[{from}, {row}, 0] [1, {rows}, {columns}] [1, 1, 1] : {source} to {tile}"
        ));
        if row == "0" {
            text.line(&format!("memref.copy {taken}, %b{number} : {tile} to {shared}"));
            return;
        }
        let view = format!("memref<{rows}x{columns}x{kind}, {layout}, #gpu.address_space<workgroup>>");
        let given = text.value(&format!(
            "memref.subview %b{number}[{row}, 0] [{rows}, {columns}] [1, 1] : {shared} to {view}"
        ));
        text.line(&format!("memref.copy {taken}, {given} : {tile} to {view}"));
    }
}

impl Piece<'_> {
    fn copy(&self, text: &mut Text) {
        let buffer = self.buffer;
        if buffer.form == Form::Waited {
            let bypass = if buffer.width == 16 { " {bypassL1}" } else { "" };
            let token = text.value(&format!(
                "nvgpu.device_async_copy {}, {}, {}{bypass} : {} to {}",
                self.origin, self.place, self.lanes, self.source, self.shared
            ));
            text.tokens.push(token);
            return;
        }
        match buffer.guard {
            Guard::Always | Guard::Skipped | Guard::Masked => {
                let loaded = self.load(text);
                let worked = self.worked(text, &loaded);
                self.store(text, &worked);
            }
            Guard::Filled => {
                let inside = buffer.place != Place::Behind;
                let ty = if inside {
                    self.stored()
                } else {
                    buffer.vector_type(self.lanes)
                };
                let fill = self.fill(text);
                let result = text.choice(
                    buffer.is_inverted(),
                    &self.on,
                    &ty,
                    |text| {
                        let loaded = self.load(text);
                        if inside { self.worked(text, &loaded) } else { loaded }
                    },
                    &fill,
                );
                let stored = if inside { result } else { self.worked(text, &result) };
                self.store(text, &stored);
            }
            Guard::Selected => {
                let inside = buffer.place != Place::Behind;
                let ty = if inside {
                    self.stored()
                } else {
                    buffer.vector_type(self.lanes)
                };
                let fill = self.fill(text);
                let mut value = self.load(text);
                if inside {
                    value = self.worked(text, &value);
                }
                let sides = match buffer.is_inverted() {
                    true => format!("{fill}, {value}"),
                    false => format!("{value}, {fill}"),
                };
                value = text.value(&format!("arith.select {}, {sides} : {ty}", self.on));
                if !inside {
                    value = self.worked(text, &value);
                }
                self.store(text, &value);
            }
            Guard::Zeros => text.branches(
                buffer.is_inverted(),
                &self.on,
                |text| {
                    let loaded = self.load(text);
                    let worked = self.worked(text, &loaded);
                    self.store(text, &worked);
                },
                |text| {
                    let fill = self.fill(text);
                    self.store(text, &fill);
                },
            ),
        }
    }

    fn stored(&self) -> String {
        self.buffer.shared_vector_type(self.lanes)
    }

    /// What stands on the other side of a guard.
    fn fill(&self, text: &mut Text) -> String {
        let kind = self.buffer.shared_kind();
        let zero = Element::zero(kind);
        match self.buffer.place {
            Place::Behind => {
                let kind = self.buffer.kind;
                text.splat(&Element::zero(kind).text(), &self.buffer.vector_type(self.lanes))
            }
            Place::Zeros => text.splat(&zero.text(), &self.stored()),
            Place::Worked => {
                let made = self.work.apply(kind, zero);
                text.splat(&made.text(), &self.stored())
            }
        }
    }

    fn load(&self, text: &mut Text) -> String {
        let buffer = self.buffer;
        let vector = buffer.vector_type(self.lanes);
        let masked = buffer.guard == Guard::Masked;
        let spread = format!("vector<{}xi1>", self.lanes);
        let (origin, source) = (&self.origin, &self.source);
        // Conditions may say where it is off.
        let on = |text: &mut Text| match buffer.is_inverted() {
            true => {
                let yes = text.value("arith.constant true");
                text.value(&format!("arith.xori {}, {yes} : i1", self.on))
            }
            false => self.on.clone(),
        };
        match buffer.form {
            Form::Transfer => {
                let pad = text.value(&format!(
                    "arith.constant {} : {}",
                    Element::zero(buffer.kind).text(),
                    buffer.kind.name()
                ));
                let mask = match masked {
                    true => {
                        let on = on(text);
                        let mask = text.value(&format!("vector.broadcast {on} : i1 to {spread}"));
                        format!(", {mask}")
                    }
                    false => String::new(),
                };
                text.value(&format!(
                    "vector.transfer_read {origin}, {pad}{mask} : {source}, {vector}"
                ))
            }
            Form::Masked => {
                let mut left = text.value(&format!(
                    "arith.subi %c{}, {} : index",
                    buffer.source_columns(),
                    self.column
                ));
                if masked {
                    let on = on(text);
                    left = text.value(&format!("arith.select {on}, {left}, %c0 : index"));
                }
                let mask = text.value(&format!("vector.create_mask {left} : {spread}"));
                self.masked_load(text, &mask)
            }
            _ if masked => {
                let on = on(text);
                let mask = text.value(&format!("vector.broadcast {on} : i1 to {spread}"));
                self.masked_load(text, &mask)
            }
            _ => {
                let hint = if self.hinted { " {nontemporal = true}" } else { "" };
                text.value(&format!("vector.load {origin}{hint} : {source}, {vector}"))
            }
        }
    }

    fn masked_load(&self, text: &mut Text, mask: &str) -> String {
        let vector = self.buffer.vector_type(self.lanes);
        let zeros = text.splat(&Element::zero(self.buffer.kind).text(), &vector);
        text.value(&format!(
            "vector.maskedload {}, {mask}, {zeros} : {}, vector<{}xi1>, {vector} into {vector}",
            self.origin, self.source, self.lanes
        ))
    }

    fn store(&self, text: &mut Text, value: &str) {
        let bytes = self.lanes * self.buffer.shared_kind().bits() / 8;
        let hint = match self.hinted {
            true => format!(" {{alignment = {bytes} : i64}}"),
            false => String::new(),
        };
        text.line(&format!(
            "vector.store {value}, {}{hint} : {}, {}",
            self.place,
            self.shared,
            self.stored()
        ));
    }

    /// The cast and the work on a value; the name of what comes out.
    fn worked(&self, text: &mut Text, value: &str) -> String {
        let buffer = self.buffer;
        let (from, ty) = (buffer.vector_type(self.lanes), self.stored());
        let mut value = value.to_owned();
        let float = buffer.kind.is_float();
        if buffer.cast {
            let wider = buffer.shared_kind().bits() > buffer.kind.bits();
            let op = match (float, wider) {
                (true, true) => "extf",
                (true, false) => "truncf",
                (false, true) => "extui",
                (false, false) => "trunci",
            };
            value = text.value(&format!("arith.{op} {value} : {from} to {ty}"));
        }
        let other = |text: &mut Text, zero: bool| match (float, zero) {
            (true, false) => text.splat(&Element::Float(FLOAT_OTHER).text(), &ty),
            (false, false) => text.splat(&OTHER.to_string(), &ty),
            (_, true) => text.splat(&Element::zero(buffer.kind).text(), &ty),
        };
        match (self.work, float) {
            (Work::None, _) => value,
            (Work::Scaled, true) => {
                let half = text.splat("0.5", &ty);
                let none = text.splat("0.0", &ty);
                let halved = text.value(&format!("arith.mulf {value}, {half} : {ty}"));
                text.value(&format!("arith.maximumf {halved}, {none} : {ty}"))
            }
            (Work::Scaled, false) => {
                let twice = text.value(&format!("arith.addi {value}, {value} : {ty}"));
                text.value(&format!("arith.addi {twice}, {value} : {ty}"))
            }
            (Work::Shifted, true) => {
                let half = text.splat("0.5", &ty);
                let one = text.splat("1.0", &ty);
                let halved = text.value(&format!("arith.mulf {value}, {half} : {ty}"));
                text.value(&format!("arith.addf {halved}, {one} : {ty}"))
            }
            (Work::Shifted, false) => {
                let mask = text.splat(&MASK.to_string(), &ty);
                let changed = text.value(&format!("arith.xori {value}, {mask} : {ty}"));
                text.value(&format!("arith.addi {changed}, {changed} : {ty}"))
            }
            (Work::Clipped(number), _) => {
                let (op, predicate, limit) = match float {
                    true => ("cmpf", FLOAT_PREDICATES[number], format!("{FLOAT_LIMIT:?}")),
                    false => ("cmpi", PREDICATES[number], LIMIT.to_string()),
                };
                let limit = text.splat(&limit, &ty);
                let kept = text.value(&format!("arith.{op} {predicate}, {value}, {limit} : {ty}"));
                let other = other(text, false);
                let bools = format!("vector<{}xi1>", self.lanes);
                text.value(&format!("arith.select {kept}, {value}, {other} : {bools}, {ty}"))
            }
            (Work::Chosen(number), _) => {
                let other = other(text, number >= 2);
                let flag = number % 2;
                text.value(&format!("arith.select %flag{flag}, {value}, {other} : {ty}"))
            }
            (Work::Flagged(number), _) => {
                let two = text.splat("2", &ty);
                let added = text.splat(&ADDED.to_string(), &ty);
                let shifted = text.value(&format!("arith.shrui {value}, {two} : {ty}"));
                let flags = FLAGS[number];
                text.value(&format!("arith.addi {shifted}, {added}{flags} : {ty}"))
            }
        }
    }
}

impl Text {
    /// `scf.if` with two sides, which change places where the condition is inverted.
    fn branches(&mut self, inverted: bool, on: &str, yes: impl FnOnce(&mut Text), no: impl FnOnce(&mut Text)) {
        self.line(&format!("scf.if {on} {{"));
        if inverted {
            no(self);
            self.line("} else {");
            yes(self);
        } else {
            yes(self);
            self.line("} else {");
            no(self);
        }
        self.line("}");
    }

    /// The same with a result: a value that is made inside, or one that is there.
    fn choice(
        &mut self,
        inverted: bool,
        on: &str,
        ty: &str,
        made: impl FnOnce(&mut Text) -> String,
        other: &str,
    ) -> String {
        let name = self.name();
        self.line(&format!("{name} = scf.if {on} -> ({ty}) {{"));
        if inverted {
            self.line(&format!("scf.yield {other} : {ty} }} else {{"));
        }
        let value = made(self);
        self.line(&format!("scf.yield {value} : {ty}"));
        if !inverted {
            self.line(&format!("}} else {{ scf.yield {other} : {ty}"));
        }
        self.line("}");
        name
    }
}
