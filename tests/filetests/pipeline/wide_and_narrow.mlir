// Copies of 16 and of 8 bytes into one buffer, the wide one first; another one whose rows of 20 bytes only allow pieces of
// 4 bytes.
// PLAN loop 0
gpu.module @m {
  gpu.func @wide_and_narrow(%in: memref<256x16xf16> {llvm.noalias, llvm.align = 16 : i64},
                            %odd: memref<256x5xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %out: memref<32x16xf16> {llvm.noalias, llvm.align = 16 : i64},
                            %sums: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 8 : index
    %c12 = arith.constant 12 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<8xf16>
    %zeros = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x16xf16, #gpu.address_space<workgroup>>
    %fours = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %all:3 = scf.for %i = %c0 to %c256 step %c32 iter_args(%a = %zero, %b = %zero, %c = %zeros)
        -> (vector<8xf16>, vector<8xf16>, vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v0 = vector.load %in[%row, %c0] : memref<256x16xf16>, vector<8xf16>
      vector.store %v0, %tile[%t, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v1 = vector.load %in[%row, %c8] : memref<256x16xf16>, vector<4xf16>
      vector.store %v1, %tile[%t, %c8] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %v2 = vector.load %in[%row, %c12] : memref<256x16xf16>, vector<4xf16>
      vector.store %v2, %tile[%t, %c12] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %v3 = vector.load %odd[%row, %c1] : memref<256x5xf32>, vector<4xf32>
      vector.store %v3, %fours[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %y = vector.load %tile[%mirror, %c8] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %z = vector.load %fours[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %a2 = arith.addf %a, %x : vector<8xf16>
      %b2 = arith.addf %b, %y : vector<8xf16>
      %d2 = arith.addf %c, %z : vector<4xf32>
      gpu.barrier
      scf.yield %a2, %b2, %d2 : vector<8xf16>, vector<8xf16>, vector<4xf32>
    }
    vector.store %all#0, %out[%t, %c0] : memref<32x16xf16>, vector<8xf16>
    vector.store %all#1, %out[%t, %c8] : memref<32x16xf16>, vector<8xf16>
    vector.store %all#2, %sums[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
