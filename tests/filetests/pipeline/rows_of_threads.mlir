// A memref.copy whose views start at the thread's row: each thread copies its own, in two pieces of different width. The
// view of the tile stands before the loop.
// PLAN loop 0
gpu.module @m {
  gpu.func @rows_of_threads(%in: memref<256x12xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %out: memref<32x12xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero8 = arith.constant dense<0.0> : vector<8xf32>
    %zero4 = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x12xf32, #gpu.address_space<workgroup>>
    %wide = memref.subview %tile[%t, 0] [1, 8] [1, 1] : memref<32x12xf32, #gpu.address_space<workgroup>>
        to memref<1x8xf32, strided<[12, 1], offset: ?>, #gpu.address_space<workgroup>>
    %narrow = memref.subview %tile[%t, 8] [1, 4] [1, 1] : memref<32x12xf32, #gpu.address_space<workgroup>>
        to memref<1x4xf32, strided<[12, 1], offset: ?>, #gpu.address_space<workgroup>>
    %sums:2 = scf.for %i = %c0 to %c256 step %c32 iter_args(%a = %zero8, %b = %zero4) -> (vector<8xf32>, vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %left = memref.subview %in[%row, 0] [1, 8] [1, 1] : memref<256x12xf32> to memref<1x8xf32, strided<[12, 1], offset: ?>>
      memref.copy %left, %wide : memref<1x8xf32, strided<[12, 1], offset: ?>>
          to memref<1x8xf32, strided<[12, 1], offset: ?>, #gpu.address_space<workgroup>>
      %right = memref.subview %in[%row, 8] [1, 4] [1, 1] : memref<256x12xf32> to memref<1x4xf32, strided<[12, 1], offset: ?>>
      memref.copy %right, %narrow : memref<1x4xf32, strided<[12, 1], offset: ?>>
          to memref<1x4xf32, strided<[12, 1], offset: ?>, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x12xf32, #gpu.address_space<workgroup>>, vector<8xf32>
      %y = vector.load %tile[%mirror, %c8] : memref<32x12xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %a2 = arith.addf %a, %x : vector<8xf32>
      %b2 = arith.addf %b, %y : vector<4xf32>
      gpu.barrier
      scf.yield %a2, %b2 : vector<8xf32>, vector<4xf32>
    }
    vector.store %sums#0, %out[%t, %c0] : memref<32x12xf32>, vector<8xf32>
    vector.store %sums#1, %out[%t, %c8] : memref<32x12xf32>, vector<4xf32>
    gpu.return
  }
}
