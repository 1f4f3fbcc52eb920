// A memref.copy of a tile, whose work the threads share, into a buffer that is read through a view.
// PLAN loop 0
gpu.module @m {
  gpu.func @whole_tile(%in: memref<24x256xf16> {llvm.noalias, llvm.align = 16 : i64},
                       %out: memref<32x8xf16> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c7 = arith.constant 7 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<8xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %row = arith.andi %mirror, %c7 : index
    %tile = memref.alloc() : memref<24x32xf16, #gpu.address_space<workgroup>>
    %lower = memref.subview %tile[16, 0] [8, 32] [1, 1]
        : memref<24x32xf16, #gpu.address_space<workgroup>>
        to memref<8x32xf16, strided<[32, 1], offset: 512>, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<8xf16>) {
      %part = memref.subview %in[0, %i] [24, 32] [1, 1]
          : memref<24x256xf16> to memref<24x32xf16, strided<[256, 1], offset: ?>>
      memref.copy %part, %tile
          : memref<24x32xf16, strided<[256, 1], offset: ?>> to memref<24x32xf16, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %lower[%row, %c8]
          : memref<8x32xf16, strided<[32, 1], offset: 512>, #gpu.address_space<workgroup>>, vector<8xf16>
      %s2 = arith.addf %s, %x : vector<8xf16>
      gpu.barrier
      scf.yield %s2 : vector<8xf16>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x8xf16>, vector<8xf16>
    gpu.return
  }
}
