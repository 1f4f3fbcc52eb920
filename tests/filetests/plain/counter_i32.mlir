// The main loop counts in 32 bits.
// ARGUMENT 1 0
// ARGUMENT 2 10
// ARGUMENT 3 1
gpu.module @m {
  gpu.func @k(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %lb: i32,
      %ub: i32,
      %st: i32,
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %sum = scf.for %k0 = %lb to %ub step %st iter_args(%s = %zero) -> (vector<4xf32>) : i32 {
      %ten = arith.constant 10 : i32
      %k1 = arith.remui %k0, %ten : i32
      %k = arith.index_castui %k1 : i32 to index
      %i = arith.muli %k, %c32 : index
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
