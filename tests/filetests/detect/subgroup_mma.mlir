// Fragments of gpu.subgroup_mma_load_matrix.
// EXPECT workgroup#0 loop=0 verdict=pipelinable depth=32 async=16
// EXPECT gpu.subgroup_mma_load_matrix#0 loop=1 verdict=pipelinable depth=3
// EXPECT gpu.subgroup_mma_load_matrix#1 loop=1 verdict=pipelinable depth=3
gpu.module @m {
  gpu.func @k(%src: memref<512x16xf16> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<16x16xf16> {llvm.noalias})
    workgroup(%s: memref<32x16xf16, 3>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %c512 = arith.constant 512 : index
    %f0 = arith.constant 0.0 : f16
    %zero = gpu.subgroup_mma_constant_matrix %f0 : !gpu.mma_matrix<16x16xf16, "COp">
    %t = gpu.thread_id x
    %sum = scf.for %k = %c0 to %c512 step %c32 iter_args(%acc = %zero) -> (!gpu.mma_matrix<16x16xf16, "COp">) {
      %row = arith.addi %k, %t : index
      %v0 = vector.load %src[%row, %c0] : memref<512x16xf16>, vector<8xf16>
      vector.store %v0, %s[%t, %c0] : memref<32x16xf16, 3>, vector<8xf16>
      %v1 = vector.load %src[%row, %c8] : memref<512x16xf16>, vector<8xf16>
      vector.store %v1, %s[%t, %c8] : memref<32x16xf16, 3>, vector<8xf16>
      gpu.barrier
      %in = scf.for %ki = %c0 to %c32 step %c16 iter_args(%x = %acc) -> (!gpu.mma_matrix<16x16xf16, "COp">) {
        %fa = gpu.subgroup_mma_load_matrix %s[%ki, %c0] {leadDimension = 16 : index} : memref<32x16xf16, 3> -> !gpu.mma_matrix<16x16xf16, "AOp">
        %fb = gpu.subgroup_mma_load_matrix %s[%ki, %c0] {leadDimension = 16 : index} : memref<32x16xf16, 3> -> !gpu.mma_matrix<16x16xf16, "BOp">
        %y = gpu.subgroup_mma_compute %fa, %fb, %x : !gpu.mma_matrix<16x16xf16, "AOp">, !gpu.mma_matrix<16x16xf16, "BOp"> -> !gpu.mma_matrix<16x16xf16, "COp">
        scf.yield %y : !gpu.mma_matrix<16x16xf16, "COp">
      }
      gpu.barrier
      scf.yield %in : !gpu.mma_matrix<16x16xf16, "COp">
    }
    gpu.subgroup_mma_store_matrix %sum, %dst[%c0, %c0] {leadDimension = 16 : index} : !gpu.mma_matrix<16x16xf16, "COp">, memref<16x16xf16>
    gpu.return
  }
}
