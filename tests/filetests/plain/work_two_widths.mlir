// Work on pieces of two widths.
gpu.module @m {
  gpu.func @k(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c2 = arith.constant 2 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %f0 = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %cc = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : vector<4xf32>
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%s = %f0) -> (f32) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      %y = arith.mulf %v, %cc : vector<4xf32>
      vector.store %y, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = memref.load %tile[%mirror, %c2] : memref<32x4xf32, #gpu.address_space<workgroup>>
      %s2 = arith.addf %s, %x : f32
      gpu.barrier
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<32xf32>
    gpu.return
  }
}
