// Two loops whose rings share bytes; between them the first one's buffer stages its sums, and behind them the second's.
// PLAN loop 0 reused
// PLAN loop 1 reused
gpu.module @m {
  gpu.func @epilogues(%in: memref<96x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                      %more: memref<160x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                      %out: memref<2x32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c160 = arith.constant 160 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %two = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %sum = scf.for %i = %c0 to %c96 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<96x4xf32>, vector<4xf32>
      vector.store %v, %one[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %one[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %one[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %y = vector.load %one[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    vector.store %y, %out[%c0, %t, %c0] {alignment = 16 : i64} : memref<2x32x4xf32>, vector<4xf32>
    %total = scf.for %i = %c0 to %c160 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %more[%row, %c0] : memref<160x4xf32>, vector<4xf32>
      vector.store %v, %two[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %two[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %total, %two[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %z = vector.load %two[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    vector.store %z, %out[%c1, %t, %c0] {alignment = 16 : i64} : memref<2x32x4xf32>, vector<4xf32>
    gpu.return
  }
}
