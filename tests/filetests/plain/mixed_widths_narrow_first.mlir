// The narrow copies come first.
gpu.module @m {
  gpu.func @k(%src: memref<1024x32xf16> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x8xf16> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %c12 = arith.constant 12 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<8xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x16xf16, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<8xf16>) {
      %row = arith.addi %i, %t : index
      %w = vector.load %src[%row, %c8] : memref<1024x32xf16>, vector<4xf16>
      vector.store %w, %s[%t, %c8] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %u = vector.load %src[%row, %c12] : memref<1024x32xf16>, vector<4xf16>
      vector.store %u, %s[%t, %c12] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %v = vector.load %src[%row, %c0] : memref<1024x32xf16>, vector<8xf16>
      vector.store %v, %s[%t, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %next = arith.addf %acc, %x : vector<8xf16>
      gpu.barrier
      scf.yield %next : vector<8xf16>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x8xf16>, vector<8xf16>
    gpu.return
  }
}
