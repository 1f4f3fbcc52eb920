// Each piece by itself; lines keep their numbers.
// RUN(2) alcop opt %s --split-input-file 2>&1 | FileCheck %s
// RUN alcop opt %s --split-input-file --verify-diagnostics
// CHECK: split.mlir:[[#@LINE+9]]:3: error: custom op 'foo' is unknown
// CHECK-NEXT: {{^  foo$}}
// CHECK-NEXT: {{^  \^$}}
// CHECK: @one
// CHECK: // -----
// CHECK: @three
func.func @one() { return }
// -----
func.func @two() {
  foo
  // expected-error @-1 {{custom op 'foo' is unknown}}
}
// -----
func.func @three() { return }
