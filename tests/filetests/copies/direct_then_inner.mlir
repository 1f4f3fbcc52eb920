// A direct read of the tile, then an inner loop over it: with a direct read that is a chunk ahead, the tile would be read
// until its next chunk is needed.
gpu.module @m {
  gpu.func @direct_then_inner(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s1 = arith.addf %s, %x : vector<4xf32>
      %s2 = scf.for %j = %c0 to %c4 step %c1 iter_args(%z = %s1) -> (vector<4xf32>) {
        %y = vector.load %tile[%j, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %z2 = arith.addf %z, %y : vector<4xf32>
        scf.yield %z2 : vector<4xf32>
      }
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
