// What the loop carries differs between threads, and decides which half of the source is copied: each thread copies the
// row of its own choice.
gpu.module @m {
  gpu.func @carried_side(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                         %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %start = arith.remui %t, %c8 : index
    %all:2 = scf.for %i = %c0 to %c4 step %c1 iter_args(%s = %zero, %side = %start) -> (vector<4xf32>, index) {
      %first = arith.muli %side, %c32 : index
      %row = arith.addi %first, %t : index
      %from = memref.subview %in[%row, 0] [1, 4] [1, 1] : memref<256x4xf32> to memref<1x4xf32, strided<[4, 1], offset: ?>>
      %to = memref.subview %tile[%t, 0] [1, 4] [1, 1] : memref<32x4xf32, #gpu.address_space<workgroup>>
          to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
      memref.copy %from, %to : memref<1x4xf32, strided<[4, 1], offset: ?>>
          to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      %up = arith.addi %side, %c1 : index
      %next = arith.remui %up, %c8 : index
      scf.yield %s2, %next : vector<4xf32>, index
    }
    vector.store %all#0, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
