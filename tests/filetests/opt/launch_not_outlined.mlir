// What stands in a gpu.launch is pipelined when it is outlined.
// RUN(1) alcop opt %s --alcop-pipeline 2>&1 | FileCheck %s --check-prefix=INSIDE
// RUN alcop opt %s --pass-pipeline='builtin.module(gpu-launch-sink-index-computations,gpu-kernel-outlining,alcop-pipeline)' | FileCheck %s --check-prefix=OUTLINED
// INSIDE: error: the loop stands in a gpu.launch; outline that first (gpu-launch-sink-index-computations,gpu-kernel-outlining)
// INSIDE: gpu.launch blocks
// OUTLINED: gpu.func
// OUTLINED: vector.load
// OUTLINED: scf.for
// OUTLINED: gpu.barrier
func.func @host(%src: memref<1024x4xf32>, %dst: memref<1024x4xf32>) {
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  gpu.launch blocks(%bx, %by, %bz) in (%gx = %c1, %gy = %c1, %gz = %c1)
      threads(%t, %ty, %tz) in (%sx = %c32, %sy = %c1, %sz = %c1)
      workgroup(%s : memref<32x4xf32, #gpu.address_space<workgroup>>) {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %mirror = arith.subi %c31, %t : index
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.terminator
  }
  return
}
