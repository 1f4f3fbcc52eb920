// A loop that fills one buffer, around a loop that fills another: each with a ring of its own.
// PLAN loop 0
// PLAN loop 1
gpu.module @m {
  gpu.func @pipeline_in_pipeline(%rows: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                                 %in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                                 %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %row = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %at = arith.addi %i, %t : index
      %r = vector.load %rows[%at, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %r, %row[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %inner = scf.for %j = %c0 to %c96 step %c32 iter_args(%s1 = %s) -> (vector<4xf32>) {
        %from = arith.addi %j, %t : index
        %v = vector.load %in[%from, %c0] : memref<256x4xf32>, vector<4xf32>
        vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        gpu.barrier
        %x = vector.load %row[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %y = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %product = arith.mulf %x, %y : vector<4xf32>
        %s2 = arith.addf %s1, %product : vector<4xf32>
        gpu.barrier
        scf.yield %s2 : vector<4xf32>
      }
      gpu.barrier
      scf.yield %inner : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
