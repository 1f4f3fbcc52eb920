// Copies of 16, 8 and 4 bytes into one buffer, the widest first, and one of 2 bytes that is staged through registers
// beside them.
// PLAN loop 0
gpu.module @m {
  gpu.func @widths(%in: memref<256x16xf16> {llvm.noalias, llvm.align = 16 : i64},
                   %out: memref<32x16xf16> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %c12 = arith.constant 12 : index
    %c14 = arith.constant 14 : index
    %c15 = arith.constant 15 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<8xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x16xf16, #gpu.address_space<workgroup>>
    %sums:2 = scf.for %i = %c0 to %c256 step %c32 iter_args(%a = %zero, %b = %zero) -> (vector<8xf16>, vector<8xf16>) {
      %row = arith.addi %i, %t : index
      %v0 = vector.load %in[%row, %c0] : memref<256x16xf16>, vector<8xf16>
      vector.store %v0, %tile[%t, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v1 = vector.load %in[%row, %c8] : memref<256x16xf16>, vector<4xf16>
      vector.store %v1, %tile[%t, %c8] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %v2 = vector.load %in[%row, %c12] : memref<256x16xf16>, vector<2xf16>
      vector.store %v2, %tile[%t, %c12] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<2xf16>
      %v3 = memref.load %in[%row, %c14] : memref<256x16xf16>
      memref.store %v3, %tile[%t, %c14] : memref<32x16xf16, #gpu.address_space<workgroup>>
      %v4 = memref.load %in[%row, %c15] : memref<256x16xf16>
      memref.store %v4, %tile[%t, %c15] : memref<32x16xf16, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %y = vector.load %tile[%mirror, %c8] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %a2 = arith.addf %a, %x : vector<8xf16>
      %b2 = arith.addf %b, %y : vector<8xf16>
      gpu.barrier
      scf.yield %a2, %b2 : vector<8xf16>, vector<8xf16>
    }
    vector.store %sums#0, %out[%t, %c0] : memref<32x16xf16>, vector<8xf16>
    vector.store %sums#1, %out[%t, %c8] : memref<32x16xf16>, vector<8xf16>
    gpu.return
  }
}
