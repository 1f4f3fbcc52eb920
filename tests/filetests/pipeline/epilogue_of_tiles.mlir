// Every tile stages its sums in the buffer, two rows of threads at a time, and a second buffer shares the barriers.
// PLAN loop 1 reused
gpu.module @m {
  gpu.func @epilogue_of_tiles(%in: memref<3x128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                              %weights: memref<3x128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                              %out: memref<6x32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      workgroup(%tile: memref<32x4xf32, #gpu.address_space<workgroup>>,
                %other: memref<32x4xf32, #gpu.address_space<workgroup>>)
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c128 = arith.constant 128 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %two = arith.constant dense<2.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    scf.for %g = %c0 to %c3 step %c1 {
      %sum = scf.for %i = %c0 to %c128 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
        %row = arith.addi %i, %t : index
        %v = vector.load %in[%g, %row, %c0] : memref<3x128x4xf32>, vector<4xf32>
        vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %w = vector.load %weights[%g, %row, %c0] : memref<3x128x4xf32>, vector<4xf32>
        vector.store %w, %other[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        gpu.barrier
        %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %y = vector.load %other[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %xy = arith.mulf %x, %y : vector<4xf32>
        %s2 = arith.addf %s, %xy : vector<4xf32>
        gpu.barrier
        scf.yield %s2 : vector<4xf32>
      }
      %half = arith.mulf %sum, %two : vector<4xf32>
      scf.for %j = %c0 to %c2 step %c1 {
        %even = arith.cmpi eq, %j, %c0 : index
        %part = arith.select %even, %sum, %half : vector<4xf32>
        vector.store %part, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        gpu.barrier
        %z = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %pair = arith.muli %g, %c2 : index
        %at = arith.addi %pair, %j : index
        vector.store %z, %out[%at, %t, %c0] {alignment = 16 : i64} : memref<6x32x4xf32>, vector<4xf32>
        gpu.barrier
      }
    }
    gpu.return
  }
}
