// The barrier that makes the chunk visible stands in the loop.
// EXPECT workgroup#0 loop=none verdict=rejected codes=not-sequential
// EXPECT vector.load#1 loop=0 verdict=rejected codes=barrier-orders-other-memory
gpu.module @m {
  gpu.func @k(%src: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %dst: memref<32x4xf32> {llvm.noalias}, %n: index)
    workgroup(%s: memref<32x4xf32, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %v = vector.load %src[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    
    %sum = scf.for %i = %c0 to %c32 step %c1 iter_args(%acc = %zero) -> (vector<4xf32>) {
      gpu.barrier
      %x = vector.load %s[%i, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
