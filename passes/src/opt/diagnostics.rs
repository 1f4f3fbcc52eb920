//! Diagnostics as `mlir-opt` prints them: the message, the line of the input, a caret below the column.
//!
//! ```text
//! k.mlir:4:8: remark: memref.alloc 0: pipelinable, at most 10 deep
//!   %s = memref.alloc() : memref<…>
//!        ^
//! ```

use alcop_compiler::ir::Diagnostic;

/// File, line and column of a location, if it has them.
pub fn place(location: &str) -> Option<(&str, usize, usize)> {
    let (rest, column) = location.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

/// The text of a diagnostic; `name` and `source` are the input's.
pub fn render(diagnostic: &Diagnostic, name: &str, source: &str) -> String {
    let mut text = format!("{diagnostic}\n");
    let Some((file, line, column)) = place(&diagnostic.location) else {
        return text;
    };
    if file != name {
        return text;
    }
    if let Some(line) = line.checked_sub(1).and_then(|line| source.lines().nth(line)) {
        // Tabs stay tabs, so that the caret stands where the column is shown.
        let before: String = line
            .chars()
            .take(column.saturating_sub(1))
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        text += &format!("{line}\n{before}^\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alcop_compiler::ir::Severity;

    #[test]
    fn the_caret_stands_below_the_column() {
        let at = |location: &str| Diagnostic {
            severity: Severity::Error,
            location: location.to_owned(),
            message: "no".to_owned(),
        };
        let source = "a\n\tbc d\n";
        assert_eq!(
            render(&at("k.mlir:2:5"), "k.mlir", source),
            "k.mlir:2:5: error: no\n\tbc d\n\t   ^\n"
        );
        assert_eq!(render(&at("o.mlir:2:5"), "k.mlir", source), "o.mlir:2:5: error: no\n");
        assert_eq!(render(&at("k.mlir:9:1"), "k.mlir", source), "k.mlir:9:1: error: no\n");
        assert_eq!(
            render(&at("loc(unknown)"), "k.mlir", source),
            "loc(unknown): error: no\n"
        );
    }
}
