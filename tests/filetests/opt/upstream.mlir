// Upstream's passes as options and in a pipeline, with options of their own.
// RUN alcop opt %s --canonicalize --cse | FileCheck %s
// RUN alcop opt %s -canonicalize | FileCheck %s
// RUN alcop opt %s --pass-pipeline='any(canonicalize{max-iterations=3 test-convergence=false},func.func(cse))' | FileCheck %s
// CHECK: @f
// CHECK-NEXT: return %arg0
func.func @f(%x: index) -> index {
  %zero = arith.constant 0 : index
  %y = arith.addi %x, %zero : index
  return %y : index
}
