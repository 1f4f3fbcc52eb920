// The place of the chunk is carried through the iterations.
gpu.module @m {
  gpu.func @k(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %n: index,
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %sum, %last = scf.for %j = %c0 to %n step %c1 iter_args(%s = %zero, %i = %c0) -> (vector<4xf32>, index) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      %i2 = arith.addi %i, %c32 : index
      scf.yield %s2, %i2 : vector<4xf32>, index
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
