// A tile of 64 KB, of which two slots fit into a block of sm_80.
gpu.module @m {
  gpu.func @large_tile(%in: memref<2048x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                       %out: memref<128x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c127 = arith.constant 127 : index
    %c512 = arith.constant 512 : index
    %c2048 = arith.constant 2048 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c127, %t : index
    %tile = memref.alloc() : memref<512x32xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c2048 step %c512 iter_args(%s = %zero) -> (vector<4xf32>) {
      %rows = memref.subview %in[%i, 0] [512, 32] [1, 1]
          : memref<2048x32xf32> to memref<512x32xf32, strided<[32, 1], offset: ?>>
      memref.copy %rows, %tile
          : memref<512x32xf32, strided<[32, 1], offset: ?>> to memref<512x32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<512x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<128x4xf32>, vector<4xf32>
    gpu.return
  }
}
