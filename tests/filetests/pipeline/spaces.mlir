// A global in shared memory, and an attribution whose memory space is the number 3; copies of 8 bytes.
// PLAN loop 0
gpu.module @m {
  memref.global "private" @shared : memref<32x4xf16, #gpu.address_space<workgroup>>
  gpu.func @spaces(%in: memref<256x4xf16> {llvm.noalias, llvm.align = 16 : i64},
                   %out: memref<32x4xf16> {llvm.noalias, llvm.align = 16 : i64})
      workgroup(%other: memref<32x4xf16, 3>)
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf16>) {
      %tile = memref.get_global @shared : memref<32x4xf16, #gpu.address_space<workgroup>>
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x4xf16>, vector<4xf16>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %opposite = arith.addi %i, %mirror : index
      %w = vector.load %in[%opposite, %c0] : memref<256x4xf16>, vector<4xf16>
      vector.store %w, %other[%t, %c0] : memref<32x4xf16, 3>, vector<4xf16>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf16, #gpu.address_space<workgroup>>, vector<4xf16>
      %y = vector.load %other[%t, %c0] : memref<32x4xf16, 3>, vector<4xf16>
      %product = arith.mulf %x, %y : vector<4xf16>
      %s2 = arith.addf %s, %product : vector<4xf16>
      gpu.barrier
      scf.yield %s2 : vector<4xf16>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 8 : i64} : memref<32x4xf16>, vector<4xf16>
    gpu.return
  }
}
