//! `mma` of every rare form and `wmma` of every shape and type, through whole kernels, against plain products.

use super::*;

/// Loads a register of `bytes` bytes for each name, [register][lane] from the address in %rd5, multiplies, and stores D
/// likewise to that in %rd6. Returns D's registers as [register][lane].
fn multiply(instruction: &str, bytes: u32, counts: [usize; 4], fragments: &[u64]) -> Result<Vec<u64>, EmulatorError> {
    let prefix = if bytes == 8 { "%rd" } else { "%r" };
    let name = |i: usize| format!("{prefix}{}", 10 + i);
    let [nd, na, nb, nc] = counts;
    let list = |first: usize, count: usize| (first..first + count).map(name).collect::<Vec<_>>().join(", ");
    let load: String = (0..na + nb + nc)
        .map(|i| {
            format!(
                "ld.global.b{} {}, [%rd5+{}];\n",
                8 * bytes,
                name(i),
                32 * bytes as usize * i
            )
        })
        .collect();
    let store: String = (0..nd)
        .map(|i| {
            format!(
                "st.global.b{} [%rd6+{}], {};\n",
                8 * bytes,
                32 * bytes as usize * i,
                name(i)
            )
        })
        .collect();
    let body = format!(
        "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd3, %r0, {bytes};\n\
         add.s64 %rd5, %rd1, %rd3;\nadd.s64 %rd6, %rd2, %rd3;\n{load}{instruction} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n{store}",
        list(0, nd),
        list(0, na),
        list(na, nb),
        list(na + nb, nc)
    );
    let array = |values: &[u64]| ArgBuffer::Array {
        dtype: ArrayDType::U32,
        bytes: values
            .iter()
            .flat_map(|value| value.to_le_bytes()[..bytes as usize].to_vec())
            .collect(),
    };
    let mut args = [array(fragments), array(&vec![0; 32 * nd])];
    let text = module(".param .u64 in, .param .u64 out", "", &body);
    let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default())?;
    assert_eq!(report.hazards, []);
    let out = args[1].bytes().expect("an array").chunks_exact(bytes as usize);
    Ok(out
        .map(|chunk| {
            chunk
                .iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte))
        })
        .collect())
}

/// Fragments of matrices with elements of so many bits, `each` to a register, by the rows and columns of the ISA's tables.
fn packed(
    registers: u32,
    bits: u32,
    place: impl Fn(u32, u32) -> (u32, u32),
    value: impl Fn(u32, u32) -> u64,
) -> Vec<u64> {
    let each = 32 / bits;
    let register = |register: u32, lane: u32| {
        (0..each).fold(0, |all, part| {
            let (row, column) = place(lane, register * each + part);
            all | ((value(row, column) & ((1 << bits) - 1)) << (part * bits))
        })
    };
    (0..registers)
        .flat_map(|r| (0..32).map(move |lane| (r, lane)))
        .map(|(r, lane)| register(r, lane))
        .collect()
}

/// PTX ISA 9.0, 9.7.14.5.4, 9.7.14.5.6, 9.7.14.5.10 to 9.7.14.5.13: row and column of a_i, b_i and c_i.
type Place = fn(u32, u32) -> (u32, u32);
/// Registers of D, A, B and C.
type Counts = [usize; 4];
/// A shape, its m and k, and where the elements of A and B are.
type Shape = (&'static str, u32, u32, Counts, Place, Place);
/// Extents, type of A and B, types of C and D, registers of A, B, C and D.
type Case = ([u32; 3], &'static str, [&'static str; 2], Counts);
const C: Place = |lane, i| {
    (
        if i < 2 { lane >> 2 } else { (lane >> 2) + 8 },
        (lane % 4) * 2 + (i & 1),
    )
};

#[test]
fn four_bit_products_of_every_shape() {
    let shapes: [Shape; 3] = [
        (
            "m8n8k32",
            8,
            32,
            [2, 1, 1, 2],
            |l, i| (l >> 2, (l % 4) * 8 + i),
            |l, i| ((l % 4) * 8 + i, l >> 2),
        ),
        (
            "m16n8k32",
            16,
            32,
            [4, 2, 1, 4],
            |l, i| (if i < 8 { l >> 2 } else { (l >> 2) + 8 }, (l % 4) * 8 + (i & 7)),
            |l, i| ((l % 4) * 8 + (i & 7), l >> 2),
        ),
        (
            "m16n8k64",
            16,
            64,
            [4, 4, 2, 4],
            |l, i| {
                let row = if i < 8 || (16..24).contains(&i) {
                    l >> 2
                } else {
                    (l >> 2) + 8
                };
                (row, (l % 4) * 8 + (i & 7) + if i < 16 { 0 } else { 32 })
            },
            |l, i| ((l % 4) * 8 + (i & 7) + if i < 8 { 0 } else { 32 }, l >> 2),
        ),
    ];
    let left = |row: u32, column: u32| u64::from((row * 5 + column * 3 + 1) & 15);
    let right = |row: u32, column: u32| u64::from((row * 7 + column * 11 + 2) & 15);
    let value = |bits: u64, ty: &str| {
        if ty == "s4" && bits > 7 {
            bits as i64 - 16
        } else {
            bits as i64
        }
    };
    for (shape, m, k, counts, a_place, b_place) in shapes {
        for types in [("s4", "s4"), ("u4", "s4"), ("s4", "u4"), ("u4", "u4")] {
            for (words, start) in [("", -7), (".satfinite", i32::MAX - 5), ("", i32::MAX - 5)] {
                let mut fragments = packed(counts[1] as u32, 4, a_place, left);
                fragments.extend(packed(counts[2] as u32, 4, b_place, right));
                fragments.extend(vec![u64::from(start as u32); 32 * counts[3]]);
                let opcode = format!(
                    "mma.sync.aligned.{shape}.row.col{words}.s32.{}.{}.s32",
                    types.0, types.1
                );
                let out = multiply(&opcode, 4, counts, &fragments).unwrap_or_else(|error| panic!("{error}"));
                for lane in 0..32 {
                    for i in 0..counts[0] as u32 {
                        let (row, column) = C(lane, i);
                        assert!(row < m);
                        let exact = i64::from(start)
                            + (0..k)
                                .map(|l| value(left(row, l), types.0) * value(right(l, column), types.1))
                                .sum::<i64>();
                        let expected = if words.is_empty() {
                            exact as i32
                        } else {
                            exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
                        };
                        assert_eq!(
                            out[(32 * i + lane) as usize] as i32,
                            expected,
                            "{opcode} D[{row}][{column}]"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn single_bit_products_of_every_shape() {
    let shapes: [(&str, u32, Counts, Place, Place); 3] = [
        (
            "m8n8k128",
            128,
            [2, 1, 1, 2],
            |l, i| (l >> 2, (l % 4) * 32 + i),
            |l, i| ((l % 4) * 32 + i, l >> 2),
        ),
        (
            "m16n8k128",
            128,
            [4, 2, 1, 4],
            |l, i| (if i < 32 { l >> 2 } else { (l >> 2) + 8 }, (l % 4) * 32 + (i & 31)),
            |l, i| ((l % 4) * 32 + i, l >> 2),
        ),
        (
            "m16n8k256",
            256,
            [4, 4, 2, 4],
            |l, i| {
                let row = if i < 32 || (64..96).contains(&i) {
                    l >> 2
                } else {
                    (l >> 2) + 8
                };
                (row, (l % 4) * 32 + (i & 31) + if i < 64 { 0 } else { 128 })
            },
            |l, i| ((l % 4) * 32 + (i & 31) + if i < 32 { 0 } else { 128 }, l >> 2),
        ),
    ];
    let left = |row: u32, column: u32| u64::from((row * row + column * 3 + column / 7) & 1);
    let right = |row: u32, column: u32| u64::from((row * 5 + column * column + row / 3) & 1);
    for (shape, k, counts, a_place, b_place) in shapes {
        for operation in ["xor", "and"] {
            let mut fragments = packed(counts[1] as u32, 1, a_place, left);
            fragments.extend(packed(counts[2] as u32, 1, b_place, right));
            fragments.extend(vec![100; 32 * counts[3]]);
            let opcode = format!("mma.sync.aligned.{shape}.row.col.s32.b1.b1.s32.{operation}.popc");
            let out = multiply(&opcode, 4, counts, &fragments).unwrap_or_else(|error| panic!("{error}"));
            for lane in 0..32 {
                for i in 0..counts[0] as u32 {
                    let (row, column) = C(lane, i);
                    let count: u64 = (0..k)
                        .map(|l| match operation {
                            "xor" => left(row, l) ^ right(l, column),
                            _ => left(row, l) & right(l, column),
                        })
                        .sum();
                    assert_eq!(
                        out[(32 * i + lane) as usize],
                        100 + count,
                        "{opcode} D[{row}][{column}]"
                    );
                }
            }
        }
    }
}

#[test]
fn double_precision_products() {
    // PTX ISA 9.0, 9.7.14.5.2: A[lane / 4][lane % 4], B[lane % 4][lane / 4], two neighbours of C.
    let left = |row: u64, column: u64| (row * 7 + column) as f64 / 3.0;
    let right = |row: u64, column: u64| (row * 5 + column * 2) as f64 / 7.0 - 1.0;
    let start = |row: u64, column: u64| (row * 8 + column) as f64 * 1e-3;
    let mut fragments: Vec<u64> = (0..32).map(|l| left(l / 4, l % 4).to_bits()).collect();
    fragments.extend((0..32).map(|l| right(l % 4, l / 4).to_bits()));
    for i in 0..2 {
        fragments.extend((0..32).map(|l| start(l / 4, l % 4 * 2 + i).to_bits()));
    }
    let opcode = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64";
    let out = multiply(opcode, 8, [2, 1, 1, 2], &fragments).unwrap_or_else(|error| panic!("{error}"));
    for lane in 0..32u64 {
        for i in 0..2 {
            let (row, column) = (lane / 4, lane % 4 * 2 + i);
            let chain = (0..4).fold(start(row, column), |sum, k| left(row, k).mul_add(right(k, column), sum));
            assert_eq!(
                f64::from_bits(out[(32 * i + lane) as usize]),
                chain,
                "D[{row}][{column}]"
            );
        }
    }
}

/// One `wmma` product of matrices in global memory; D is stored row by row.
struct Wmma<'w> {
    opcode: String,
    shape: &'w str,
    layouts: [&'w str; 2],
    /// Types of A, B, C and D.
    types: [&'w str; 4],
    /// Registers of A, B, C and D.
    counts: [usize; 4],
}

impl Wmma<'_> {
    fn run(&self, arrays: [Vec<u8>; 3], d_bytes: usize) -> Result<Vec<u8>, EmulatorError> {
        let names = |first: usize, index: usize| {
            let prefix = if self.types[index] == "f64" { "%rd" } else { "%r" };
            let names: Vec<String> = (first..first + self.counts[index])
                .map(|i| format!("{prefix}{i}"))
                .collect();
            names.join(", ")
        };
        let (a, b, c, d) = (names(10, 0), names(20, 1), names(30, 2), names(40, 3));
        let d = if self.types[3] == "f64" {
            d.replace("%rd4", "%rd3")
        } else {
            d
        };
        let ([left, right], [ta, tb, tc, td], shape) = (self.layouts, self.types, self.shape);
        let body = format!(
            "ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nld.param.u64 %rd4, [d];\n\
             wmma.load.a.sync.aligned.{left}.{shape}.global.{ta} {{{a}}}, [%rd1];\n\
             wmma.load.b.sync.aligned.{right}.{shape}.global.{tb} {{{b}}}, [%rd2];\n\
             wmma.load.c.sync.aligned.row.{shape}.global.{tc} {{{c}}}, [%rd3];\n\
             {} {{{d}}}, {{{a}}}, {{{b}}}, {{{c}}};\nwmma.store.d.sync.aligned.row.{shape}.global.{td} [%rd4], {{{d}}};",
            self.opcode
        );
        let text = module(".param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d", "", &body);
        let array = |bytes: Vec<u8>| ArgBuffer::Array {
            dtype: ArrayDType::U8,
            bytes,
        };
        let [a, b, c] = arrays.map(array);
        let mut args = [a, b, c, array(vec![0; d_bytes])];
        let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default())?;
        assert_eq!(report.hazards, []);
        Ok(args[3].bytes().expect("an array").to_vec())
    }
}

/// Elements of a matrix in memory, in bits each, lines one after the other.
fn in_memory(rows: u32, columns: u32, layout: &str, bits: u32, value: impl Fn(u32, u32) -> u64) -> Vec<u8> {
    let mut out = vec![0u8; (rows * columns * bits / 8) as usize];
    for n in 0..rows * columns {
        let (row, column) = if layout == "row" {
            (n / columns, n % columns)
        } else {
            (n % rows, n / rows)
        };
        let (value, at) = (value(row, column), n * bits);
        if bits < 8 {
            out[at as usize / 8] |= ((value & ((1 << bits) - 1)) as u8) << (at % 8);
        } else {
            out[at as usize / 8..][..bits as usize / 8].copy_from_slice(&value.to_le_bytes()[..bits as usize / 8]);
        }
    }
    out
}

const LAYOUTS: [[&str; 2]; 4] = [["row", "row"], ["row", "col"], ["col", "row"], ["col", "col"]];

#[test]
fn wmma_of_floats_in_every_shape_layout_and_type() {
    let left = |row: u32, column: u32| f64::from((row * 5 + column * 3) % 13) - 6.0;
    let right = |row: u32, column: u32| f64::from((row * 7 + column) % 11) - 5.0;
    let start = |row: u32, column: u32| f64::from((row + 2 * column) % 9);
    let encode = |ty: &str, value: f64| match ty {
        "f16" => u64::from(half::f16::from_f64(value).to_bits()),
        "bf16" => u64::from(half::bf16::from_f64(value).to_bits()),
        "f64" => value.to_bits(),
        _ => u64::from((value as f32).to_bits()),
    };
    let bits = |ty: &str| match ty {
        "f16" | "bf16" => 16,
        "f64" => 64,
        _ => 32,
    };
    let mut cases: Vec<Case> = Vec::new();
    for shape in [[16, 16, 16], [8, 32, 16], [32, 8, 16]] {
        for (c, d) in [("f32", "f32"), ("f16", "f16"), ("f16", "f32"), ("f32", "f16")] {
            let count = |ty: &str| if ty == "f32" { 8 } else { 4 };
            cases.push((shape, "f16", [c, d], [8, 8, count(c), count(d)]));
        }
        let counts = [[4, 4], [2, 8], [8, 2]][if shape[0] == 16 {
            0
        } else {
            (shape[0] / 16) as usize / 2 + 1
        }];
        cases.push((shape, "bf16", ["f32"; 2], [counts[0], counts[1], 8, 8]));
    }
    cases.push(([16, 16, 8], "tf32", ["f32"; 2], [4, 4, 8, 8]));
    cases.push(([8, 8, 4], "f64", ["f64"; 2], [1, 1, 2, 2]));
    for ([m, n, k], ty, [c, d], counts) in cases {
        let shape = format!("m{m}n{n}k{k}");
        for layouts in LAYOUTS {
            let [l, r] = layouts;
            let opcode = match ty {
                "f16" => format!("wmma.mma.sync.aligned.{l}.{r}.{shape}.{d}.{c}"),
                _ => format!("wmma.mma.sync.aligned.{l}.{r}.{shape}.{d}.{ty}.{ty}.{c}"),
            };
            let product = Wmma {
                opcode: opcode.clone(),
                shape: &shape,
                layouts,
                types: [ty, ty, c, d],
                counts,
            };
            let arrays = [
                in_memory(m, k, l, bits(ty), |row, column| encode(ty, left(row, column))),
                in_memory(k, n, r, bits(ty), |row, column| encode(ty, right(row, column))),
                in_memory(m, n, "row", bits(c), |row, column| encode(c, start(row, column))),
            ];
            let width = bits(d) as usize / 8;
            let out = product
                .run(arrays, (m * n) as usize * width)
                .unwrap_or_else(|error| panic!("{error}"));
            let expected = in_memory(m, n, "row", bits(d), |row, column| {
                let sum = (0..k).map(|i| left(row, i) * right(i, column)).sum::<f64>();
                encode(d, sum + start(row, column))
            });
            assert_eq!(out, expected, "{opcode}");
        }
    }
}

#[test]
fn wmma_of_integers_in_every_shape_layout_and_type() {
    let left = |row: u32, column: u32| u64::from(row * 37 + column * 91 + 5);
    let right = |row: u32, column: u32| u64::from(row * 53 + column * 29 + 200);
    let value = |bits: u64, ty: &str| {
        let width: u32 = ty[1..].parse().expect("a width");
        let cut = (bits & ((1 << width) - 1)) as i64;
        if ty.starts_with('s') && cut >> (width - 1) == 1 {
            cut - (1 << width)
        } else {
            cut
        }
    };
    let cases: [([u32; 3], u32, [usize; 2]); 4] = [
        ([16, 16, 16], 8, [2, 2]),
        ([8, 32, 16], 8, [1, 4]),
        ([32, 8, 16], 8, [4, 1]),
        ([8, 8, 32], 4, [1, 1]),
    ];
    for ([m, n, k], bits, [na, nb]) in cases {
        let sums = (m * n / 32) as usize;
        for (signs, words, start) in [
            ("ss", "", -9),
            ("us", "", 7),
            ("su", "", 0),
            ("uu", ".satfinite", i32::MAX - 9),
        ] {
            let types = signs
                .split("")
                .filter(|sign| !sign.is_empty())
                .map(|sign| format!("{sign}{bits}"));
            let types: Vec<String> = types.collect();
            for layouts in LAYOUTS {
                if bits < 8 && layouts != ["row", "col"] {
                    continue;
                }
                let ([l, r], shape) = (layouts, format!("m{m}n{n}k{k}"));
                let opcode = format!(
                    "wmma.mma.sync.aligned.{l}.{r}.{shape}.s32.{}.{}.s32{words}",
                    types[0], types[1]
                );
                let product = Wmma {
                    opcode: opcode.clone(),
                    shape: &shape,
                    layouts,
                    types: [&types[0], &types[1], "s32", "s32"],
                    counts: [na, nb, sums, sums],
                };
                let arrays = [
                    in_memory(m, k, l, bits, left),
                    in_memory(k, n, r, bits, right),
                    in_memory(m, n, "row", 32, |_, _| u64::from(start as u32)),
                ];
                let out = product
                    .run(arrays, (m * n * 4) as usize)
                    .unwrap_or_else(|error| panic!("{error}"));
                let expected = in_memory(m, n, "row", 32, |row, column| {
                    let products = (0..k).map(|i| value(left(row, i), &types[0]) * value(right(i, column), &types[1]));
                    let exact = products.sum::<i64>() + i64::from(start);
                    u64::from(exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32)
                });
                assert_eq!(out, expected, "{opcode}");
            }
        }
    }
    for operation in ["xor", "and"] {
        let opcode = format!("wmma.mma.{operation}.popc.sync.aligned.row.col.m8n8k128.s32.b1.b1.s32");
        let product = Wmma {
            opcode: opcode.clone(),
            shape: "m8n8k128",
            layouts: ["row", "col"],
            types: ["b1", "b1", "s32", "s32"],
            counts: [1, 1, 2, 2],
        };
        let bit = |f: fn(u32, u32) -> u32| move |row: u32, column: u32| u64::from(f(row, column) & 1);
        let (left, right) = (bit(|r, c| r + c / 3), bit(|r, c| r / 5 + c));
        let arrays = [
            in_memory(8, 128, "row", 1, left),
            in_memory(128, 8, "col", 1, right),
            in_memory(8, 8, "row", 32, |_, _| 3),
        ];
        let out = product.run(arrays, 256).unwrap_or_else(|error| panic!("{error}"));
        let expected = in_memory(8, 8, "row", 32, |row, column| {
            let pair = |i: u32| (left(row, i), right(i, column));
            3 + (0..128)
                .map(pair)
                .map(|(a, b)| if operation == "xor" { a ^ b } else { a & b })
                .sum::<u64>()
        });
        assert_eq!(out, expected, "{opcode}");
    }
}

#[test]
fn rounding_of_double_precision_wmma_follows_its_mode() {
    // 1 + 2⁻⁶⁰ lies between 1 and its neighbour; −1 − 2⁻⁶⁰ likewise.
    let tiny = 2f64.powi(-60);
    for (mode, up, down) in [
        ("", 1.0, -1.0),
        (".rz", 1.0, -1.0),
        (".rp", 1.0 + f64::EPSILON, -1.0),
        (".rm", 1.0, -1.0 - f64::EPSILON),
    ] {
        let product = Wmma {
            opcode: format!("wmma.mma.sync.aligned.row.col.m8n8k4{mode}.f64.f64.f64.f64"),
            shape: "m8n8k4",
            layouts: ["row", "col"],
            types: ["f64"; 4],
            counts: [1, 1, 2, 2],
        };
        let sign = |row: u32| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
        let arrays = [
            in_memory(8, 4, "row", 64, |row, column| {
                if column == 0 { sign(row) * tiny } else { 0.0 }.to_bits()
            }),
            in_memory(4, 8, "col", 64, |row, _| if row == 0 { 1.0f64 } else { 0.0 }.to_bits()),
            in_memory(8, 8, "row", 64, |row, _| sign(row).to_bits()),
        ];
        let out = product.run(arrays, 512).unwrap_or_else(|error| panic!("{error}"));
        let expected = in_memory(8, 8, "row", 64, |row, _| {
            if row.is_multiple_of(2) { up } else { down }.to_bits()
        });
        assert_eq!(out, expected, "{mode}");
    }
}

#[test]
fn an_undefined_element_spoils_its_row_only() {
    // Lane 0 holds A[0][0 … 7] of m8n8k32; its register is left undefined: D[0][…] is, of lanes 0 to 3.
    let body = |lane: u32| {
        format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r2, 3;\nsetp.ne.u32 %p1, %r0, 0;\n@%p1 mov.u32 %r1, 5;\n\
             mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32 {{%r3, %r4}}, {{%r1}}, {{%r2}}, {{%r2, %r2}};\n\
             setp.eq.u32 %p2, %r0, {lane};\n@%p2 st.global.u32 [%rd1], %r3;"
        )
    };
    for (lane, hazards) in [(3, 1), (4, 0)] {
        let launch = kernel(module(ONE_POINTER, "", &body(lane)), 32);
        let report = emulate(&launch, &mut [words([0])], &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.hazards.len(), hazards, "lane {lane}: {:#?}", report.hazards);
    }
}

#[test]
fn products_of_other_architectures_are_refused_by_name() {
    for (opcode, counts, reason) in [
        ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", [8, 2, 2, 8], "Volta"),
        (
            "mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64",
            [4, 4, 2, 4],
            "Hopper",
        ),
        (
            "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32",
            [4, 4, 2, 4],
            "sm_89",
        ),
        (
            "mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
            [4, 2, 2, 4],
            "sparse",
        ),
        ("mma.sync.aligned.m16n8k32.row.col.s32.s4.s8.s32", [4, 2, 1, 4], "s4.s8"),
        ("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32", [2, 1, 1, 2], "b1"),
        (
            "mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32.xor.popc",
            [2, 1, 1, 2],
            "xor",
        ),
        (
            "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32",
            [4, 2, 1, 4],
            "registers, not",
        ),
    ] {
        let error = multiply(opcode, 4, counts, &[0; 32 * 32])
            .expect_err(opcode)
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_wmma_reads_what_other_lanes_have_stored() {
    // Each lane stores 16 bytes; whichever piece of the matrix its address names, the data goes to other lanes.
    let body = |space: &str, between: &str| {
        let place = if space == "shared" {
            "mov.u64 %rd9, tile;"
        } else {
            "mov.u64 %rd9, %rd1;"
        };
        let list = "{%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}";
        format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n{place}\nmul.wide.u32 %rd2, %r0, 16;\nadd.s64 %rd3, %rd9, %rd2;\n\
             st.{space}.v4.u32 [%rd3], {{%r0, %r0, %r0, %r0}};\n{between}\n\
             wmma.load.a.sync.aligned.row.m16n16k16.{space}.f16 {list}, [%rd9];"
        )
    };
    for space in ["shared", "global"] {
        for (between, expected) in [("", vec![HazardCode::Race]), ("bar.warp.sync -1;", vec![])] {
            let text = module(ONE_POINTER, ".shared .align 16 .b8 tile[512];", &body(space, between));
            let report = emulate(&kernel(text, 32), &mut [words([0; 128])], &EmulateOptions::default())
                .unwrap_or_else(|error| panic!("{error}"));
            let codes: Vec<_> = report.hazards.iter().map(|hazard| hazard.code).collect();
            assert_eq!(codes, expected, "{space}");
        }
    }
}
