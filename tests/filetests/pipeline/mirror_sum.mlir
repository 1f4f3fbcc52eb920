// A reduction with two carried values; each thread reads what another one copied.
// PLAN loop 0
gpu.module @m {
  gpu.func @mirror_sum(%in: memref<640x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %sums: memref<64x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %maxima: memref<64x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c63 = arith.constant 63 : index
    %c64 = arith.constant 64 : index
    %c640 = arith.constant 640 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c63, %t : index
    %tile = memref.alloc() : memref<64x4xf32, #gpu.address_space<workgroup>>
    %sum, %max = scf.for %i = %c0 to %c640 step %c64 iter_args(%s = %zero, %m = %zero)
        -> (vector<4xf32>, vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<640x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      %m2 = arith.maximumf %m, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2, %m2 : vector<4xf32>, vector<4xf32>
    }
    vector.store %sum, %sums[%t, %c0] {alignment = 16 : i64} : memref<64x4xf32>, vector<4xf32>
    vector.store %max, %maxima[%t, %c0] {alignment = 16 : i64} : memref<64x4xf32>, vector<4xf32>
    gpu.return
  }
}
