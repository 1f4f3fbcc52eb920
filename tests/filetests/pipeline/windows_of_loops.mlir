// Two loops fill the same bytes under different types, and a third use stages results there.
// PLAN loop 0
// PLAN loop 1
gpu.module @m {
  gpu.func @windows_of_loops(%in: memref<96x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                             %more: memref<160x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                             %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c160 = arith.constant 160 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %to = arith.muli %t, %c4 : index
    %from = arith.muli %mirror, %c4 : index
    %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %one = memref.view %dynamic[%c0][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<32x4xf32, #gpu.address_space<workgroup>>
    %two = memref.view %dynamic[%c256][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<128xf32, #gpu.address_space<workgroup>>
    %stage = memref.view %dynamic[%c256][] : memref<?xi8, #gpu.address_space<workgroup>>
        to memref<32x4xf32, #gpu.address_space<workgroup>>
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
    vector.store %sum, %stage[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %start = vector.load %stage[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
    gpu.barrier
    %total = scf.for %i = %c0 to %c160 step %c32 iter_args(%s = %start) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %more[%row, %c0] : memref<160x4xf32>, vector<4xf32>
      vector.store %v, %two[%to] : memref<128xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %two[%from] : memref<128xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %total, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
