// Nobody knows how far the dynamic memory is used: the tile goes into static memory.
gpu.module @m {
  gpu.func @k(%src: memref<64x32xf32> {llvm.noalias}, %dst: memref<64x32xf32> {llvm.noalias}, %off: index) kernel attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %t = gpu.thread_id x
    %all = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %c16 = arith.constant 16 : index
    %at = arith.muli %off, %c16 : index
    %o = memref.view %all[%at][] : memref<?xi8, #gpu.address_space<workgroup>> to memref<32xf32, #gpu.address_space<workgroup>>
    %z = arith.constant 1.0 : f32
    memref.store %z, %o[%t] : memref<32xf32, #gpu.address_space<workgroup>>
    %s = memref.alloc() : memref<32x32xf32, #gpu.address_space<workgroup>>
    scf.for %i = %c0 to %c64 step %c32 {
      scf.for %j = %c0 to %c32 step %c1 {
        %row = arith.addi %i, %j : index
        %v = memref.load %src[%row, %t] : memref<64x32xf32>
        memref.store %v, %s[%j, %t] : memref<32x32xf32, #gpu.address_space<workgroup>>
      }
      gpu.barrier
      scf.for %j = %c0 to %c32 step %c1 {
        %row = arith.addi %i, %j : index
        %v = memref.load %s[%t, %j] : memref<32x32xf32, #gpu.address_space<workgroup>>
        memref.store %v, %dst[%row, %t] : memref<64x32xf32>
      }
      gpu.barrier
    }
    gpu.return
  }
}
