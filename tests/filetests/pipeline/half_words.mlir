// Copies of 2 bytes travel through registers, loaded one chunk early; beside them copies of 16 bytes are asynchronous.
// PLAN loop 0
gpu.module @m {
  gpu.func @half_words(%in: memref<8x65xf16> {llvm.noalias, llvm.align = 2 : i64},
                       %wide: memref<8x64x8xf16> {llvm.noalias, llvm.align = 16 : i64},
                       %out: memref<64xf16> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %c8 = arith.constant 8 : index
    %c63 = arith.constant 63 : index
    %zero = arith.constant 0.0 : f16
    %t = gpu.thread_id x
    %mirror = arith.subi %c63, %t : index
    %line = memref.alloc() : memref<64xf16, #gpu.address_space<workgroup>>
    %rows = memref.alloc() : memref<64x8xf16, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c8 step %c1 iter_args(%s = %zero) -> (f16) {
      %it = arith.addi %i, %t : index
      %third = arith.remui %it, %c3 : index
      %on = arith.cmpi ne, %third, %c1 : index
      %v = scf.if %on -> (f16) {
        %loaded = memref.load %in[%i, %t] : memref<8x65xf16>
        scf.yield %loaded : f16
      } else {
        scf.yield %zero : f16
      }
      memref.store %v, %line[%t] : memref<64xf16, #gpu.address_space<workgroup>>
      %w = vector.load %wide[%i, %t, %c0] : memref<8x64x8xf16>, vector<8xf16>
      vector.store %w, %rows[%t, %c0] : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      gpu.barrier
      %x = memref.load %line[%mirror] : memref<64xf16, #gpu.address_space<workgroup>>
      %y = memref.load %rows[%mirror, %c3] : memref<64x8xf16, #gpu.address_space<workgroup>>
      %product = arith.mulf %x, %y : f16
      %s2 = arith.addf %s, %product : f16
      gpu.barrier
      scf.yield %s2 : f16
    }
    memref.store %sum, %out[%t] : memref<64xf16>
    gpu.return
  }
}
