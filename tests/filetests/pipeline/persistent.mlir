// A loop over tiles whose body stores its result: the copies of the next tile start before this one is stored.
// PLAN loop 1 around 0
gpu.module @m {
  gpu.func @persistent(%in: memref<6x128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %out: memref<6x32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      workgroup(%tile: memref<32x4xf32, #gpu.address_space<workgroup>>)
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c6 = arith.constant 6 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c128 = arith.constant 128 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    scf.for %g = %c0 to %c6 step %c1 {
      %sum = scf.for %i = %c0 to %c128 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
        %row = arith.addi %i, %t : index
        %v = vector.load %in[%g, %row, %c0] : memref<6x128x4xf32>, vector<4xf32>
        vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        gpu.barrier
        %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %s2 = arith.addf %s, %x : vector<4xf32>
        gpu.barrier
        scf.yield %s2 : vector<4xf32>
      }
      vector.store %sum, %out[%g, %t, %c0] {alignment = 16 : i64} : memref<6x32x4xf32>, vector<4xf32>
    }
    gpu.return
  }
}
