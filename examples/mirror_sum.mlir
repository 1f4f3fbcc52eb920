// A kernel that is not a matmul: a block of 128 threads sums the rows of its input with their mirror image, 128 rows at a
// time through a tile in shared memory, and keeps their maxima beside.
//
//   alcop explain examples/mirror_sum.mlir
//   alcop compile examples/mirror_sum.mlir --shared-stages 4 --emit mlir
gpu.module @mine {
  gpu.func @mirror_sum(%in: memref<8192x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %sums: memref<128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %maxima: memref<128x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 128, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c127 = arith.constant 127 : index
    %c128 = arith.constant 128 : index
    %c8192 = arith.constant 8192 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c127, %t : index
    %tile = memref.alloc() : memref<128x4xf32, #gpu.address_space<workgroup>>
    %sum, %max = scf.for %i = %c0 to %c8192 step %c128 iter_args(%s = %zero, %m = %zero)
        -> (vector<4xf32>, vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<8192x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<128x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<128x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      %m2 = arith.maximumf %m, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2, %m2 : vector<4xf32>, vector<4xf32>
    }
    vector.store %sum, %sums[%t, %c0] {alignment = 16 : i64} : memref<128x4xf32>, vector<4xf32>
    vector.store %max, %maxima[%t, %c0] {alignment = 16 : i64} : memref<128x4xf32>, vector<4xf32>
    gpu.return
  }
}
