// Half of the threads copy the whole tile, each of them all of it: not pipelined.
gpu.module @m {
  gpu.func @half_of_threads(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %upper = arith.cmpi uge, %t, %c16 : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      scf.if %upper {
        %rows = memref.subview %in[%i, 0] [32, 4] [1, 1]
            : memref<256x4xf32> to memref<32x4xf32, strided<[4, 1], offset: ?>>
        memref.copy %rows, %tile
            : memref<32x4xf32, strided<[4, 1], offset: ?>> to memref<32x4xf32, #gpu.address_space<workgroup>>
      }
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
