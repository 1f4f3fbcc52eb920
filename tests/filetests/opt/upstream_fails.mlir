// A pass of upstream that fails: what it says, exit 1, and no module.
// RUN(1) alcop opt %s --one-shot-bufferize --allow-unregistered-dialect 2>&1 | FileCheck %s --implicit-check-not=module
// CHECK: upstream_fails.mlir:[[#@LINE+3]]:8: error: op was not bufferized
// CHECK: a pass refused or failed
func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = "their.op"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
