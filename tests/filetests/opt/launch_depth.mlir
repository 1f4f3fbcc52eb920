// What is wanted of the attributions of a launch is wanted of the kernel that it becomes.
// RUN alcop compile %s --shared-stages 2 --emit plan | FileCheck %s
// CHECK: "slots": 5,
func.func @host(%src: memref<1024x4xf32> {llvm.align = 16 : i64, llvm.noalias}, %dst: memref<1024x4xf32>, %n: index) {
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
  } {alcop.attributions = [{alcop.depth = 5 : i64, alcop.verdict = "pipelinable"}]}
  return
}
