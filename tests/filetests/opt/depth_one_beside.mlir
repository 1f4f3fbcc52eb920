// An edited depth of 1 leaves one of two buffers where it is: plain stores between two barriers, beside the other's ring.
// RUN alcop opt %s --alcop-plan=layout=plain --alcop-expand --alcop-check-hazards | FileCheck %s
// CHECK: scf.for
// CHECK: gpu.barrier
// CHECK-NEXT: vector.store
// CHECK-NEXT: gpu.barrier
// CHECK: nvvm.cp.async.wait.group
// CHECK-NEXT: gpu.barrier
// CHECK: nvgpu.device_async_copy
// CHECK: scf.yield
gpu.module @m {
  gpu.func @k(%a: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %b: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %r = memref.alloc() {alcop.depth = 1 : i64} : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %a[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %w = vector.load %b[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      vector.store %w, %r[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %y = vector.load %r[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %xy = arith.mulf %x, %y : vector<4xf32>
      %next = arith.addf %acc, %xy : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.return
  }
}
