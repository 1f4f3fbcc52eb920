// The copy stands in a loop that may run any number of times, or never.
// EXPECT workgroup#0 loop=0 verdict=rejected codes=not-sequential,unknown-op
// EXPECT vector.load#1 loop=0 verdict=rejected codes=sync-positions-differ
gpu.module @m {
  gpu.func @k(%in: memref<64x32xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32xf32> {llvm.noalias, llvm.align = 16 : i64}, %n: i32)
      workgroup(%tile: memref<32xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 8, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c64 = arith.constant 64 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %i0 = arith.constant 0 : i32
    %i1 = arith.constant 1 : i32
    %t = gpu.thread_id x
    %col = arith.muli %t, %c4 : index
    %sum = scf.for %i = %c0 to %c64 step %c1 iter_args(%s = %zero) -> (vector<4xf32>) {
      %r = scf.while (%w = %i0) : (i32) -> i32 {
        %more = arith.cmpi slt, %w, %n : i32
        scf.condition(%more) %w : i32
      } do {
      ^bb0(%w: i32):
        %v = vector.load %in[%i, %col] : memref<64x32xf32>, vector<4xf32>
        vector.store %v, %tile[%col] : memref<32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %next = arith.addi %w, %i1 : i32
        scf.yield %next : i32
      }
      gpu.barrier
      %x = vector.load %tile[%col] : memref<32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%col] : memref<32xf32>, vector<4xf32>
    gpu.return
  }
}
