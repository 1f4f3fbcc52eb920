// What has no lowering is named, and nothing is changed; with a libdevice to come it is left alone.
// RUN(1) alcop opt %s --alcop-lower-math 2>&1 | FileCheck %s
// RUN alcop opt %s --alcop-lower-math=libdevice | FileCheck %s --check-prefix=LEFT
// CHECK: error: math.exp of f64 cannot be lowered: {{.*}} [no-lowering]
// CHECK: math.log
// LEFT: llvm.call @__alcop_log(
// LEFT: math.exp
gpu.module @m {
  gpu.func @k(%a: memref<32xf32>, %b: memref<32xf64>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %t = gpu.thread_id x
    %x = memref.load %a[%t] : memref<32xf32>
    %l = math.log %x : f32
    memref.store %l, %a[%t] : memref<32xf32>
    %y = memref.load %b[%t] : memref<32xf64>
    %e = math.exp %y : f64
    memref.store %e, %b[%t] : memref<32xf64>
    gpu.return
  }
}
