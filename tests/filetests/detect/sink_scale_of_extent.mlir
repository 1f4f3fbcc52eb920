// The extent of a view differs between threads, and so does the scale that is made of it.
// EXPECT memref.alloc#0 loop=0 verdict=rejected codes=not-a-pure-copy
// EXPECT vector.load#1 loop=0 verdict=rejected codes=sync-positions-differ
gpu.module @m {
  gpu.func @sink_scale_of_extent(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %list: memref<?xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %part = memref.subview %list[0] [%t] [1] : memref<?xf32> to memref<?xf32, strided<[1]>>
    %extent = memref.dim %part, %c0 : memref<?xf32, strided<[1]>>
    %whole = arith.index_cast %extent : index to i32
    %f = arith.sitofp %whole : i32 to f32
    %b = vector.broadcast %f : f32 to vector<4xf32>
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      %y = arith.mulf %v, %b : vector<4xf32>
      vector.store %y, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
