// A window of the kernel's dynamic shared memory, named twice, beside one that is filled once before the loop.
// PLAN loop 0
gpu.module @m {
  gpu.func @window(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                   %once: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                   %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %c512 = arith.constant 512 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %kept = memref.view %dynamic[%c0][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<32x4xf32, #gpu.address_space<workgroup>>
    %first = vector.load %once[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    vector.store %first, %kept[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %tile = memref.view %dynamic[%c512][] : memref<?xi8, #gpu.address_space<workgroup>>
          to memref<32x4xf32, #gpu.address_space<workgroup>>
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %again = memref.view %dynamic[%c512][] : memref<?xi8, #gpu.address_space<workgroup>>
          to memref<32x4xf32, #gpu.address_space<workgroup>>
      %x = vector.load %again[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %y = vector.load %kept[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %product = arith.mulf %x, %y : vector<4xf32>
      %s2 = arith.addf %s, %product : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
