// Zeros behind an scf.if, and a choice by what came out of it: a maximum without its name.
// EXPECT memref.alloc#0 loop=0 verdict=after-sinking async=16
// EXPECT vector.load#1 loop=0 verdict=after-sinking depth=2
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c1000 = arith.constant 1000 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = arith.constant dense<1.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %few = arith.cmpi ult, %row, %c1000 : index
      %g = scf.if %few -> (vector<4xf32>) {
        %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        scf.yield %v : vector<4xf32>
      } else {
        scf.yield %zero : vector<4xf32>
      }
      %less = arith.cmpf olt, %g, %one : vector<4xf32>
      %w = arith.select %less, %one, %g : vector<4xi1>, vector<4xf32>
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
