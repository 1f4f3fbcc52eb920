// The inner buffer stays, and its barriers with it.
// EXPECT workgroup#0 loop=0 verdict=rejected codes=barrier-orders-other-memory
// EXPECT workgroup#1 loop=1 verdict=rejected codes=not-a-pure-copy
// EXPECT vector.load#2 loop=1 verdict=pipelinable depth=32
// EXPECT vector.load#3 loop=1 verdict=rejected codes=sync-positions-differ
gpu.module @m {
  gpu.func @k(%a: memref<4x32x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %b: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<32x4xf32> {llvm.noalias})
    workgroup(%sa: memref<32x4xf32, #gpu.address_space<workgroup>>, %sb: memref<32x4xf32, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %m = arith.subi %c31, %t : index
    %sum = scf.for %o = %c0 to %c4 step %c1 iter_args(%outer = %zero) -> (vector<4xf32>) {
      %va = vector.load %a[%o, %t, %c0] : memref<4x32x4xf32>, vector<4xf32>
      vector.store %va, %sa[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %in = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %outer) -> (vector<4xf32>) {
        %row = arith.addi %i, %t : index
        %vb = vector.load %b[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
        %q = arith.mulf %vb, %acc : vector<4xf32>
        vector.store %q, %sb[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        gpu.barrier
        %xa = vector.load %sa[%m, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %xb = vector.load %sb[%m, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %p = arith.mulf %xa, %xb : vector<4xf32>
        %next = arith.addf %acc, %p : vector<4xf32>
        gpu.barrier
        scf.yield %next : vector<4xf32>
      }
      scf.yield %in : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
