// The row that a thread copies is looked up in memory at the thread's place: each copies its own.
gpu.module @m {
  gpu.func @row_from_memory(%rows: memref<32xindex> {llvm.noalias},
                            %in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c224 = arith.constant 224 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %own = memref.load %rows[%t] : memref<32xindex>
    %sum = scf.for %i = %c0 to %c224 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %own : index
      %from = memref.subview %in[%row, 0] [1, 4] [1, 1] : memref<256x4xf32> to memref<1x4xf32, strided<[4, 1], offset: ?>>
      %to = memref.subview %tile[%t, 0] [1, 4] [1, 1] : memref<32x4xf32, #gpu.address_space<workgroup>>
          to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
      memref.copy %from, %to : memref<1x4xf32, strided<[4, 1], offset: ?>>
          to memref<1x4xf32, strided<[4, 1], offset: ?>, #gpu.address_space<workgroup>>
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
