// Two loops fill one tile, and each reads it through a view of its own.
gpu.module @m {
  gpu.func @k(%in: memref<320x8xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %first = scf.for %i = %c0 to %c320 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x8xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %view = memref.subview %tile[%mirror, 0] [1, 4] [1, 1] : memref<32x4xf32, #gpu.address_space<workgroup>>
        to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
      %x = vector.load %view[%c0, %c0]
        : memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%s = %first) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c4] : memref<320x8xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %view = memref.subview %tile[%mirror, 0] [1, 4] [1, 1] : memref<32x4xf32, #gpu.address_space<workgroup>>
        to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
      %x = vector.load %view[%c0, %c0]
        : memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.mulf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
