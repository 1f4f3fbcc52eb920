// A ReLU moves from the copy behind the read; then the copy can be planned.
// RUN alcop opt %s --alcop-sink-elementwise | FileCheck %s
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-sink-elementwise,alcop-plan{shared-stages=3 register-stages=1},alcop-expand,alcop-waits,alcop-check-hazards)' | FileCheck %s --check-prefix=PIPELINED
// RUN alcop opt %s --alcop-pipeline="shared-stages=3 register-stages=1" | FileCheck %s --check-prefix=PIPELINED
// CHECK: scf.for
// CHECK: %[[V:.*]] = vector.load %arg0
// CHECK-NEXT: vector.store %[[V]]
// CHECK-NEXT: gpu.barrier
// CHECK-NEXT: %[[X:.*]] = vector.load
// CHECK-NEXT: %[[Z:.*]] = arith.constant dense<0.0
// CHECK-NEXT: %[[Y:.*]] = arith.maximumf %[[X]], %[[Z]]
// CHECK-NEXT: arith.addf %{{.*}}, %[[Y]]
// PIPELINED: nvgpu.device_async_copy
// PIPELINED: scf.for
// PIPELINED: nvvm.cp.async.wait.group 1
// PIPELINED: arith.maximumf
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      %w = arith.maximumf %v, %zero : vector<4xf32>
      vector.store %w, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.return
  }
}
