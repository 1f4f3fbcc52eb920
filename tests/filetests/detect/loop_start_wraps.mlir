// A few iterations from a start near the largest number: the end is not known, but no more than two steps fit behind it.
// ARGUMENT 2 9223372036854775776
// EXPECT memref.alloc#0 loop=0 verdict=rejected codes=not-sequential
// EXPECT vector.load#1 loop=0 verdict=rejected codes=sync-positions-differ
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}, %end: index) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %from = arith.constant 9223372036854775744 : index
    %sum = scf.for %i = %from to %end step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %near = arith.subi %i, %from : index
      %row = arith.addi %near, %t : index
      %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
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
