// Source and tile are rebuilt from their metadata.
gpu.module @m {
  gpu.func @k(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %b, %of, %sz:2, %st:2 = memref.extract_strided_metadata %in : memref<320x4xf32> -> memref<f32>, index, index, index, index, index
    %tb, %tof, %tsz:2, %tst:2 = memref.extract_strided_metadata %tile : memref<32x4xf32, #gpu.address_space<workgroup>> -> memref<f32, #gpu.address_space<workgroup>>, index, index, index, index, index
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %o = arith.muli %i, %c4 : index
      %sv = memref.reinterpret_cast %b to offset: [%o], sizes: [32, 4], strides: [4, 1] : memref<f32> to memref<32x4xf32, strided<[4, 1], offset: ?>>
      %tv = memref.reinterpret_cast %tb to offset: [0], sizes: [32, 4], strides: [4, 1] : memref<f32, #gpu.address_space<workgroup>> to memref<32x4xf32, strided<[4, 1]>, #gpu.address_space<workgroup>>
      %v = vector.load %sv[%t, %c0] : memref<32x4xf32, strided<[4, 1], offset: ?>>, vector<4xf32>
      vector.store %v, %tv[%t, %c0] : memref<32x4xf32, strided<[4, 1]>, #gpu.address_space<workgroup>>, vector<4xf32>
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
