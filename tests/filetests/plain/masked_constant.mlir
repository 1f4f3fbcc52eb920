// A masked load whose mask is constant: the last lane is zero, whatever stands in memory.
gpu.module @m {
  gpu.func @k(%in: memref<32x32xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %mask = vector.constant_mask [3] : vector<4xi1>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %sum = scf.for %i = %c0 to %c32 step %c4 iter_args(%s = %zero) -> (vector<4xf32>) {
      %v = vector.maskedload %in[%t, %i], %mask, %zero
          : memref<32x32xf32>, vector<4xi1>, vector<4xf32> into vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
