// The loop of copies counts four numbers, of which two are negative with a sign: all of the row is written. With a sign
// it counts none.
// RUN alcop opt %s --alcop-check-hazards 2>&1 | FileCheck %s
// CHECK-NOT: {{error|warning}}
// CHECK: scf.for unsigned
gpu.module @m {
  gpu.func @k(%src: memref<32x4xf32> {llvm.noalias}, %dst: memref<32x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %from = arith.constant 2147483646 : i32
    %to = arith.constant -2147483646 : i32
    %one = arith.constant 1 : i32
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    scf.for unsigned %i = %from to %to step %one : i32 {
      %d = arith.subi %i, %from : i32
      %column = arith.index_castui %d : i32 to index
      %v = memref.load %src[%t, %column] : memref<32x4xf32>
      memref.store %v, %s[%t, %column] : memref<32x4xf32, #gpu.address_space<workgroup>>
    }
    gpu.barrier
    %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    vector.store %x, %dst[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
