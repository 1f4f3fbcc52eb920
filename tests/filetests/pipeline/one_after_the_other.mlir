// Two loops that fill the same buffer, and one that fills another: their rings share memory.
// PLAN loop 0
// PLAN loop 1
// PLAN loop 2
gpu.module @m {
  gpu.func @one_after_the_other(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                                %out: memref<3x32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %other = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %first = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    %second = scf.for %i = %c0 to %c96 step %c32 iter_args(%s = %first) -> (vector<4xf32>) {
      %row = arith.addi %i, %mirror : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.subf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %first, %out[%c0, %t, %c0] {alignment = 16 : i64} : memref<3x32x4xf32>, vector<4xf32>
    vector.store %second, %out[%c1, %t, %c0] {alignment = 16 : i64} : memref<3x32x4xf32>, vector<4xf32>
    %third = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %second) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %v, %other[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %other[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %third, %out[%c2, %t, %c0] {alignment = 16 : i64} : memref<3x32x4xf32>, vector<4xf32>
    gpu.return
  }
}
