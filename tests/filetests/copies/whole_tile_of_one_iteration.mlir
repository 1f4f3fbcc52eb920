// The threads copy a tile together in every second iteration of a pipelined loop, under a condition that they decide alike.
gpu.module @m {
  gpu.func @whole_tile_of_one_iteration(%in: memref<256x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                                        %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c8 = arith.constant 8 : index
    %c32 = arith.constant 32 : index
    %c63 = arith.constant 63 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c63, %t : index
    %row = arith.remui %mirror, %c32 : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c8 step %c1 iter_args(%s = %zero) -> (vector<4xf32>) {
      %odd = arith.remui %i, %c2 : index
      %is_odd = arith.cmpi eq, %odd, %c1 : index
      scf.if %is_odd {
        %first = arith.muli %i, %c32 : index
        %rows = memref.subview %in[%first, 0] [32, 4] [1, 1]
            : memref<256x4xf32> to memref<32x4xf32, strided<[4, 1], offset: ?>>
        memref.copy %rows, %tile
            : memref<32x4xf32, strided<[4, 1], offset: ?>> to memref<32x4xf32, #gpu.address_space<workgroup>>
      }
      gpu.barrier
      %s2 = scf.if %is_odd -> (vector<4xf32>) {
        %x = vector.load %tile[%row, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %more = arith.addf %s, %x : vector<4xf32>
        scf.yield %more : vector<4xf32>
      } else {
        scf.yield %s : vector<4xf32>
      }
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    %first_half = arith.cmpi ult, %t, %c32 : index
    scf.if %first_half {
      vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    }
    gpu.return
  }
}
