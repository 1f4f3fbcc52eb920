// A memref.copy of a tile that one thread does, and beside it one that every thread does for its own element of another.
// PLAN loop 0
gpu.module @m {
  gpu.func @tile_of_one_thread(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                               %scale: memref<8x32xf32> {llvm.noalias},
                               %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %sixth = arith.cmpi eq, %t, %c5 : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %factors = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c8 step %c1 iter_args(%s = %zero) -> (vector<4xf32>) {
      scf.if %sixth {
        %first = arith.muli %i, %c32 : index
        %rows = memref.subview %in[%first, 0] [32, 4] [1, 1]
            : memref<256x4xf32> to memref<32x4xf32, strided<[4, 1], offset: ?>>
        memref.copy %rows, %tile
            : memref<32x4xf32, strided<[4, 1], offset: ?>> to memref<32x4xf32, #gpu.address_space<workgroup>>
      }
      %from = memref.subview %scale[%i, %t] [1, 1] [1, 1] : memref<8x32xf32> to memref<1xf32, strided<[1], offset: ?>>
      %to = memref.subview %factors[%t] [1] [1] : memref<32xf32, #gpu.address_space<workgroup>>
          to memref<1xf32, strided<[1], offset: ?>, #gpu.address_space<workgroup>>
      memref.copy %from, %to : memref<1xf32, strided<[1], offset: ?>>
          to memref<1xf32, strided<[1], offset: ?>, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %f = memref.load %factors[%mirror] : memref<32xf32, #gpu.address_space<workgroup>>
      %fs = vector.broadcast %f : f32 to vector<4xf32>
      %y = arith.mulf %x, %fs : vector<4xf32>
      %s2 = arith.addf %s, %y : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
