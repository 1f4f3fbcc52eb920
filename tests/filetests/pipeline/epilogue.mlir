// The epilogue stages sums in the buffer that the loop filled; rows go through it before the loop, too.
// PLAN loop 0 reused
gpu.module @m {
  gpu.func @epilogue(%in: memref<128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                     %start: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                     %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c5 = arith.constant 5 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c128 = arith.constant 128 : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %five = arith.addi %t, %c5 : index
    %turned = arith.remui %five, %c32 : index
    %first = vector.load %start[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    vector.store %first, %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %zero = vector.load %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %sum = scf.for %i = %c0 to %c128 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<128x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %tile[%turned, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %y = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    vector.store %y, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
