// Math operations become functions of the module and intrinsics; a second call shares the function.
// RUN alcop opt %s --alcop-lower-math | FileCheck %s
// CHECK-COUNT-1: llvm.func internal @__alcop_log(
// CHECK-NOT: llvm.func internal @__alcop_log(
// CHECK: gpu.func @k
// CHECK: llvm.call @__alcop_log(
// CHECK: llvm.call @__alcop_log(
// CHECK: llvm.call_intrinsic "llvm.sqrt"
// CHECK: llvm.call_intrinsic "llvm.nvvm.sin.approx.f"
// CHECK-NOT: math.
gpu.module @m {
  gpu.func @k(%a: memref<32xf32>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %t = gpu.thread_id x
    %x = memref.load %a[%t] : memref<32xf32>
    %l = math.log %x : f32
    %m = math.log %l : f32
    %r = math.sqrt %m : f32
    %s = math.sin %r fastmath<afn> : f32
    memref.store %s, %a[%t] : memref<32xf32>
    gpu.return
  }
}
