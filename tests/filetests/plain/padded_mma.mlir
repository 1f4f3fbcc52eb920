// The same with matrix products.
gpu.module @m {
  gpu.func @k(%a: memref<16x64xf16> {llvm.noalias, llvm.align = 16 : i64},
      %b: memref<64x16xf16> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<16x16xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c2 = arith.constant 2 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c64 = arith.constant 64 : index
    %f0 = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %sa = memref.alloc() : memref<16x24xf16, #gpu.address_space<workgroup>>
    %sb = memref.alloc() : memref<16x24xf16, #gpu.address_space<workgroup>>
    %z = gpu.subgroup_mma_constant_matrix %f0 : !gpu.mma_matrix<16x16xf32, "COp">
    %r = arith.divui %t, %c2 : index
    %h = arith.remui %t, %c2 : index
    %col = arith.muli %h, %c8 : index
    %sum = scf.for %k = %c0 to %c64 step %c16 iter_args(%acc = %z) -> (!gpu.mma_matrix<16x16xf32, "COp">) {
      %ka = arith.addi %k, %col : index
      %va = vector.load %a[%r, %ka] : memref<16x64xf16>, vector<8xf16>
      vector.store %va, %sa[%r, %col] : memref<16x24xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %kb = arith.addi %k, %r : index
      %vb = vector.load %b[%kb, %col] : memref<64x16xf16>, vector<8xf16>
      vector.store %vb, %sb[%r, %col] : memref<16x24xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      gpu.barrier
      %fa = gpu.subgroup_mma_load_matrix %sa[%c0, %c0] {leadDimension = 24 : index} : memref<16x24xf16, #gpu.address_space<workgroup>> -> !gpu.mma_matrix<16x16xf16, "AOp">
      %fb = gpu.subgroup_mma_load_matrix %sb[%c0, %c0] {leadDimension = 24 : index} : memref<16x24xf16, #gpu.address_space<workgroup>> -> !gpu.mma_matrix<16x16xf16, "BOp">
      %n = gpu.subgroup_mma_compute %fa, %fb, %acc : !gpu.mma_matrix<16x16xf16, "AOp">, !gpu.mma_matrix<16x16xf16, "BOp"> -> !gpu.mma_matrix<16x16xf32, "COp">
      gpu.barrier
      scf.yield %n : !gpu.mma_matrix<16x16xf32, "COp">
    }
    gpu.subgroup_mma_store_matrix %sum, %out[%c0, %c0] {leadDimension = 16 : index} : !gpu.mma_matrix<16x16xf32, "COp">, memref<16x16xf32>
    gpu.return
  }
}
