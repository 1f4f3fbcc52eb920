//! Kernels that are nearly those of the file tests: changes of single lines of their text.
//!
//! ```text
//! %y = arith.maximumf %x, %zero          ->  %y = arith.mulf %x, %zero
//! vector.store %v, %s[…]                 ->  scf.if %p { vector.store %v, %s[…] }
//! ```
//!
//! Many do not parse afterwards: that costs a millisecond.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len());
        items.get(at)
    }
}

/// Operations that may stand for each other, with the same text around them.
const ALIKE: &[&[&str]] = &[
    &[
        "arith.addi",
        "arith.subi",
        "arith.muli",
        "arith.xori",
        "arith.andi",
        "arith.ori",
        "arith.maxui",
        "arith.minsi",
        "arith.remui",
        "arith.divui",
    ],
    &[
        "arith.addf",
        "arith.subf",
        "arith.mulf",
        "arith.maximumf",
        "arith.minimumf",
        "arith.maxnumf",
    ],
    &[
        "arith.cmpi eq",
        "arith.cmpi ne",
        "arith.cmpi ult",
        "arith.cmpi ule",
        "arith.cmpi sgt",
        "arith.cmpi uge",
        "arith.cmpi slt",
    ],
    &[
        "arith.cmpf ogt",
        "arith.cmpf olt",
        "arith.cmpf oge",
        "arith.cmpf une",
        "arith.cmpf oeq",
    ],
    &["arith.extui", "arith.extsi"],
    &["arith.sitofp", "arith.uitofp"],
    &["scf.for %", "scf.for unsigned %"],
    &["arith.index_cast", "arith.index_castui"],
];

/// Types that a whole file may have instead of others.
const TYPES: &[(&str, &str)] = &[
    ("xf32", "xf16"),
    ("xf16", "xf32"),
    ("xf16", "xbf16"),
    ("vector<4x", "vector<2x"),
    ("vector<4x", "vector<8x"),
    ("vector<8x", "vector<4x"),
    ("x4xf32", "x8xf32"),
    ("x4xf32", "x5xf32"),
    ("32x4x", "64x4x"),
    ("array<i32: 32, 1, 1>", "array<i32: 64, 1, 1>"),
    ("array<i32: 32, 1, 1>", "array<i32: 16, 1, 1>"),
];

/// A text with one to three changes, and what they are.
pub fn mutated(text: &str, random: &mut Random) -> (String, Vec<String>) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut how = Vec::new();
    let changes = 1 + random.below(3);
    for _ in 0..40 {
        if how.len() == changes {
            break;
        }
        let number = how.len();
        let change = match random.below(12) {
            0 | 1 => operation(&mut lines, random),
            2 => constant(&mut lines, random),
            3 => operand(&mut lines, random),
            4 => order(&mut lines, random),
            5 => drop_line(&mut lines, random),
            6 => types(&mut lines, random),
            7 => attributes(&mut lines, random),
            8 => twice(&mut lines, random),
            9 => guard_store(&mut lines, random, number),
            10 => guard_value(&mut lines, random, number),
            _ => work(&mut lines, random, number),
        };
        how.extend(change);
    }
    (lines.join("\n") + "\n", how)
}

/// Lines of the kernel that are one operation each.
fn operations(lines: &[String], wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    let plain = |line: &str| {
        let line = line.trim();
        !line.starts_with("//")
            && !line.is_empty()
            && !line.ends_with('{')
            && !line.starts_with('}')
            && line.contains('.')
    };
    (0..lines.len())
        .filter(|at| plain(&lines[*at]) && wanted(&lines[*at]))
        .collect()
}

fn operation(lines: &mut [String], random: &mut Random) -> Option<String> {
    let all: Vec<usize> = (0..lines.len())
        .filter(|at| !lines[*at].trim().starts_with("//"))
        .collect();
    let group = random.pick(ALIKE)?;
    let from = random.pick(group)?;
    let to = random.pick(group).filter(|to| *to != from)?;
    let places: Vec<usize> = all
        .into_iter()
        .filter(|at| lines[*at].contains(&format!("{from} ")) || from.ends_with('%') && lines[*at].contains(from))
        .collect();
    let at = *random.pick(&places)?;
    lines[at] = lines[at].replacen(from, to, 1);
    Some(format!("`{to}` for `{from}`"))
}

fn constant(lines: &mut [String], random: &mut Random) -> Option<String> {
    let places = operations(lines, |line| {
        line.contains("arith.constant") && !line.contains("dense<[")
    });
    let at = *random.pick(&places)?;
    let (name, rest) = lines[at].split_once("arith.constant ")?;
    let (value, ty) = rest.split_once(" : ")?;
    let values: &[&str] = match () {
        () if value.starts_with("dense<") && value.contains('.') => {
            &["dense<0.0>", "dense<1.0>", "dense<-0.5>", "dense<-0.0>"]
        }
        () if value.starts_with("dense<") => &["dense<0>", "dense<1>", "dense<7>", "dense<-1>"],
        () if value.contains('.') => &["0.0", "1.0", "-0.5", "2.0"],
        () => &["0", "1", "2", "3", "4", "8", "16", "31", "32", "33", "64", "100"],
    };
    let new = *random.pick(values)?;
    let how = format!("{new} for {value} in `{}`", name.trim());
    lines[at] = format!("{name}arith.constant {new} : {ty}");
    Some(how)
}

fn defined(lines: &[String], ty: &str) -> Vec<String> {
    let plain = operations(lines, |line| {
        line.contains(" = ") && line.trim_end().ends_with(&format!(": {ty}"))
    });
    let mut names: Vec<String> = plain
        .into_iter()
        .filter_map(|at| lines[at].split_once(" = ").map(|(name, _)| name.trim().to_owned()))
        .collect();
    if ty == "index" {
        names.extend(["%t", "%i"].map(str::to_owned));
    }
    names
}

fn operand(lines: &mut [String], random: &mut Random) -> Option<String> {
    let names = defined(lines, "index");
    let (from, to) = (random.pick(&names)?.clone(), random.pick(&names)?.clone());
    let used = |line: &str| {
        let (_, right) = line.split_once(" = ").unwrap_or(("", line));
        right
            .split(|c: char| !(c.is_alphanumeric() || c == '%' || c == '_'))
            .any(|word| word == from)
    };
    let places: Vec<usize> = (0..lines.len()).filter(|at| from != to && used(&lines[*at])).collect();
    let at = *random.pick(&places)?;
    let split = lines[at].find(" = ").map_or(0, |at| at + 3);
    let (left, right) = lines[at].split_at(split);
    let mut out = left.to_owned();
    let mut rest = right;
    while let Some(found) = rest.find(&from) {
        let end = found + from.len();
        let whole = !rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        out += &rest[..found];
        out += if whole { &to } else { &from };
        rest = &rest[end..];
    }
    lines[at] = out + rest;
    Some(format!("{to} for {from} in line {}", at + 1))
}

fn order(lines: &mut [String], random: &mut Random) -> Option<String> {
    let places = operations(lines, |_| true);
    let at = *random.pick(&places)?;
    let next = at + 1 + random.below(3);
    if !places.contains(&next) {
        return None;
    }
    let line = lines[at].clone();
    for place in at..next {
        lines[place] = lines[place + 1].clone();
    }
    lines[next] = line;
    Some(format!("line {} moved behind {}", at + 1, next + 1))
}

fn drop_line(lines: &mut Vec<String>, random: &mut Random) -> Option<String> {
    let places = operations(lines, |line| {
        line.contains("store") || line.contains("barrier") || line.contains("copy")
    });
    let at = *random.pick(&places)?;
    Some(format!("without `{}`", lines.remove(at).trim()))
}

fn types(lines: &mut [String], random: &mut Random) -> Option<String> {
    let (from, to) = random.pick(TYPES)?;
    let mut found = false;
    for line in lines
        .iter_mut()
        .filter(|line| line.contains(from) && !line.trim().starts_with("//"))
    {
        *line = line.replace(from, to);
        found = true;
    }
    found.then(|| format!("{to} for {from}"))
}

/// Only promises are taken back: a promise that does not hold makes a kernel undefined.
fn attributes(lines: &mut [String], random: &mut Random) -> Option<String> {
    let known = [
        "llvm.noalias, ",
        ", llvm.noalias",
        "llvm.noalias",
        ", llvm.align = 16 : i64",
        " {alignment = 16 : i64}",
        ", bypassL1",
    ];
    let what = *random.pick(&known)?;
    let places: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(what)).collect();
    let at = *random.pick(&places)?;
    lines[at] = lines[at].replacen(what, "", 1);
    Some(format!("without `{}` in line {}", what.trim(), at + 1))
}

fn twice(lines: &mut Vec<String>, random: &mut Random) -> Option<String> {
    let places = operations(lines, |line| {
        line.contains("store") || line.contains("barrier") || line.contains("memref.copy")
    });
    let at = *random.pick(&places)?;
    let line = lines[at].clone();
    let to = (at + random.below(4)).min(lines.len() - 1);
    lines.insert(to, line.clone());
    Some(format!("`{}` once more", line.trim()))
}

/// A condition on the thread or the iteration, in lines of its own.
fn condition(lines: &[String], random: &mut Random, name: &str) -> Option<String> {
    let names = defined(lines, "index");
    let predicate = random.pick(&["ult", "uge", "eq", "ne", "slt"])?;
    let (left, right) = (random.pick(&names)?.clone(), random.pick(&names)?.clone());
    Some(format!("{name} = arith.cmpi {predicate}, {left}, {right} : index"))
}

fn guard_store(lines: &mut [String], random: &mut Random, number: usize) -> Option<String> {
    let places = operations(lines, |line| {
        let line = line.trim();
        line.starts_with("vector.store") || line.starts_with("memref.store") || line.starts_with("memref.copy")
    });
    let at = *random.pick(&places)?;
    let name = format!("%fuzz_p{number}");
    let condition = condition(lines, random, &name)?;
    lines[at] = format!("{condition}\nscf.if {name} {{\n{}\n}}", lines[at]);
    Some(format!("line {} under a condition", at + 1))
}

/// `%v = load` becomes a load, and a select between it and zero.
fn guard_value(lines: &mut [String], random: &mut Random, number: usize) -> Option<String> {
    let (at, name, ty) = loaded(lines, random)?;
    let (p, zero, raw) = (
        format!("%fuzz_q{number}"),
        format!("%fuzz_z{number}"),
        format!("%fuzz_r{number}"),
    );
    let condition = condition(lines, random, &p)?;
    let value = match (ty.starts_with("vector"), ty.contains('f')) {
        (true, true) => "dense<0.0>",
        (true, false) => "dense<0>",
        (false, true) => "0.0",
        (false, false) => "0",
    };
    let load = lines[at].replacen(&name, &raw, 1);
    lines[at] = format!(
        "{load}\n{condition}\n{zero} = arith.constant {value} : {ty}\n{name} = arith.select {p}, {raw}, {zero} : {ty}"
    );
    Some(format!("a select behind line {}", at + 1))
}

/// Work behind a load.
fn work(lines: &mut [String], random: &mut Random, number: usize) -> Option<String> {
    let (at, name, ty) = loaded(lines, random)?;
    let (raw, other) = (format!("%fuzz_w{number}"), format!("%fuzz_c{number}"));
    let float = ty.contains('f');
    let operation = if float {
        random.pick(&["arith.addf", "arith.mulf", "arith.maximumf", "arith.subf"])?
    } else {
        random.pick(&["arith.addi", "arith.xori", "arith.muli", "arith.maxui"])?
    };
    let value = match (ty.starts_with("vector"), float) {
        (true, true) => "dense<1.5>",
        (true, false) => "dense<3>",
        (false, true) => "1.5",
        (false, false) => "3",
    };
    let load = lines[at].replacen(&name, &raw, 1);
    lines[at] = format!("{load}\n{other} = arith.constant {value} : {ty}\n{name} = {operation} {raw}, {other} : {ty}");
    Some(format!("{operation} behind line {}", at + 1))
}

/// A load of numbers: its line, the name of its result, its type.
fn loaded(lines: &[String], random: &mut Random) -> Option<(usize, String, String)> {
    let places = operations(lines, |line| {
        line.contains(" = vector.load ") || line.contains(" = memref.load ")
    });
    let at = *random.pick(&places)?;
    let line = &lines[at];
    let name = line.split_once(" = ")?.0.trim().to_owned();
    let ty = if line.contains("vector.load") {
        line.rsplit_once(", ")?.1.trim().to_owned()
    } else {
        let memref = line.rsplit_once(": memref<")?.1;
        let shape = memref.split([',', '>']).next()?;
        shape.rsplit('x').next()?.to_owned()
    };
    (!ty.contains("index") && !ty.contains("i1")).then_some((at, name, ty))
}
