// Two loops fill the buffer, each under a condition of its own, and read it under the same one.
// EXPECT memref.alloc#0 loop=0 verdict=pipelinable depth=32 async=16
// EXPECT memref.alloc#0 loop=1 verdict=pipelinable depth=32 async=16
// EXPECT vector.load#1 loop=0 verdict=rejected codes=not-sequential
// EXPECT vector.load#3 loop=1 verdict=rejected codes=not-sequential
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = arith.constant dense<1.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %first = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %rest = arith.remui %i, %c96 : index
      %on = arith.cmpi ne, %rest, %c32 : index
      scf.if %on {
        %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      }
      gpu.barrier
      %next = scf.if %on -> (vector<4xf32>) {
        %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %y = arith.addf %acc, %x : vector<4xf32>
        scf.yield %y : vector<4xf32>
      } else {
        scf.yield %acc : vector<4xf32>
      }
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %first) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %rest = arith.remui %i, %c96 : index
      %on = arith.cmpi eq, %rest, %c32 : index
      scf.if %on {
        %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      }
      gpu.barrier
      %next = scf.if %on -> (vector<4xf32>) {
        %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %y = arith.addf %acc, %x : vector<4xf32>
        scf.yield %y : vector<4xf32>
      } else {
        scf.yield %acc : vector<4xf32>
      }
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.return
  }
}
