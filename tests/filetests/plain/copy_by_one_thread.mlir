// One thread copies the whole tile; the number of chunks stands in memory.
// ARGUMENT 0 320
gpu.module @m {
  gpu.func @k(%trips: memref<1xindex> {llvm.noalias, llvm.align = 16 : i64},
      %in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %first = arith.cmpi eq, %t, %c0 : index
    %n = memref.load %trips[%c0] : memref<1xindex>
    %sum = scf.for %i = %c0 to %n step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      scf.if %first {
        %src = memref.subview %in[%i, 0] [32, 4] [1, 1] : memref<320x4xf32> to memref<32x4xf32, strided<[4, 1], offset: ?>>
        memref.copy %src, %tile : memref<32x4xf32, strided<[4, 1], offset: ?>> to memref<32x4xf32, #gpu.address_space<workgroup>>
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
