// Results are staged in bytes of both operands, under another type, tile by tile; the rings lie over them.
// PLAN loop 1
gpu.module @m {
  gpu.func @window_reused(%in: memref<3x128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                          %weights: memref<3x128x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                          %out: memref<3x32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c128 = arith.constant 128 : index
    %c512 = arith.constant 512 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %tile = memref.view %dynamic[%c0][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<32x4xf32, #gpu.address_space<workgroup>>
    %other = memref.view %dynamic[%c512][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<32x4xf32, #gpu.address_space<workgroup>>
    %stage = memref.view %dynamic[%c0][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<512xf32, #gpu.address_space<workgroup>>
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
      %to = arith.muli %t, %c4 : index
      %from = arith.muli %mirror, %c4 : index
      %far = arith.addi %to, %c128 : index
      %farther = arith.addi %from, %c128 : index
      %twice = arith.addf %sum, %sum : vector<4xf32>
      vector.store %sum, %stage[%to] : memref<512xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      vector.store %twice, %stage[%far] : memref<512xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %z = vector.load %stage[%from] : memref<512xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %z2 = vector.load %stage[%farther] : memref<512xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %all = arith.addf %z, %z2 : vector<4xf32>
      vector.store %all, %out[%g, %t, %c0] {alignment = 16 : i64} : memref<3x32x4xf32>, vector<4xf32>
      gpu.barrier
    }
    gpu.return
  }
}
