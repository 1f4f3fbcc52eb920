// The first loop converts halves, the second adds one to floats: the tile can hold one type.
// EXPECT memref.alloc#0 loop=0 verdict=rejected codes=not-a-pure-copy
// EXPECT memref.alloc#0 loop=1 verdict=rejected codes=not-a-pure-copy
// EXPECT vector.load#1 loop=0 verdict=rejected codes=sync-positions-differ
// EXPECT vector.load#3 loop=1 verdict=rejected codes=sync-positions-differ
gpu.module @m {
  gpu.func @loops_of_different_types(%half: memref<320x4xf16> {llvm.noalias, llvm.align = 16 : i64}, %in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = arith.constant dense<1.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %a = scf.for %i = %c0 to %c320 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %half[%row, %c0] : memref<320x4xf16>, vector<4xf16>
      %y = arith.extf %v : vector<4xf16> to vector<4xf32>
      vector.store %y, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%acc = %a) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      %y = arith.addf %v, %one : vector<4xf32>
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
