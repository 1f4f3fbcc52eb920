//! Fuzzing of the PTX parser and decoder with edits of a real kernel: whatever the text, the answer is a program or an
//! error that names a line of it, and it comes at once. (`fuzz/` holds the same as a target of cargo-fuzz.)

use alcop_runtime::emulator::{EmulatorError, Program};
use alcop_runtime::ptx;
use proptest::prelude::*;

/// A kernel of ours: 128×128×32, three slots, two fragment sets.
const MATMUL: &str = include_str!("data/matmul_nn_128x128x32_s3_r2.ptx");

/// What other places of the text are replaced by, besides words of the text itself.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ",",
    "@",
    ":",
    "-1",
    "0x",
    "0f",
    "99999999999999999999",
    ".reg",
    ".b32",
    ".v4",
    ".loc",
    "%r<",
    "bra",
    "ret",
    "/*",
    "\"",
    "\u{e9}",
];

/// Parses and decodes; an error must name a line of the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let lines = text.lines().count() as u32 + 1;
    match ptx::parse(text) {
        Err(error) => prop_assert!((1..=lines).contains(&error.line), "{error} in {lines} lines"),
        Ok(module) => {
            for entry in module.entry_names() {
                match Program::from_text(text, entry) {
                    Ok(program) => prop_assert!(program.code.iter().all(|instr| (1..=lines).contains(&instr.line))),
                    Err(EmulatorError::UnsupportedInstruction { line, .. }) => {
                        prop_assert!((1..=lines).contains(&line))
                    }
                    Err(error) => prop_assert!(!error.to_string().is_empty()),
                }
            }
        }
    }
    Ok(())
}

/// Where the words of a text are: runs of letters, digits and `._%$`, and single other characters.
fn words(text: &str) -> Vec<(usize, usize)> {
    let part = |c: char| c.is_ascii_alphanumeric() || "._%$".contains(c);
    let mut words: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for (at, c) in text.char_indices() {
        match words.last_mut() {
            Some(last) if open && part(c) => last.1 = at + c.len_utf8(),
            _ if !c.is_whitespace() => words.push((at, at + c.len_utf8())),
            _ => {}
        }
        open = part(c);
    }
    words
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn edited_bytes(edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..8)) {
        let mut bytes = MATMUL.as_bytes().to_vec();
        for (index, kind, byte) in edits {
            let at = index.index(bytes.len());
            match kind {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = byte,
                2 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at..(at + byte as usize).min(bytes.len() - 1))),
            }
        }
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn edited_words(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..4), 1..8,
    )) {
        let mut text = MATMUL.to_owned();
        for (to, from, kind) in edits {
            let words = words(&text);
            let (start, end) = words[to.index(words.len())];
            let (other, other_end) = words[from.index(words.len())];
            let word = text[other..other_end].to_owned();
            match kind {
                0 => text.replace_range(start..end, ""),
                1 => text.replace_range(start..end, WORDS[from.index(WORDS.len())]),
                2 => text.insert_str(start, &format!("{word} ")),
                _ => text.replace_range(start..end, &word),
            }
        }
        check(&text)?;
    }

    #[test]
    fn truncations(index in any::<prop::sample::Index>()) {
        let at = index.index(MATMUL.len());
        let body = MATMUL.rfind('}').expect("the kernel's end");
        check(&MATMUL[..at])?;
        // Short of its last brace no text is a module with an entry.
        if at <= body {
            let entries = ptx::parse(&MATMUL[..at]).map(|module| module.entry_names().len());
            prop_assert!(entries.is_err() || entries == Ok(0), "{entries:?} at {at}");
        }
    }
}
