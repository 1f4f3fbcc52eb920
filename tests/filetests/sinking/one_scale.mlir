// Both copies scale by the same number from memory.
// EXPECT pipelined
gpu.module @m {
  gpu.func @one_scale(%in: memref<640x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %scales: memref<2xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c10 = arith.constant 10 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c63 = arith.constant 63 : index
    %c64 = arith.constant 64 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<64x4xf32, #gpu.address_space<workgroup>>
    %far = arith.subi %c63, %t : index
    %t32 = arith.addi %t, %c32 : index
    %s = memref.load %scales[%c1] : memref<2xf32>
    %sum = scf.for %k = %c0 to %c10 step %c1 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %i = arith.muli %k, %c64 : index
      %r0 = arith.addi %i, %t : index
      %r1 = arith.addi %r0, %c32 : index
      %v0 = vector.load %in[%r0, %c0] : memref<640x4xf32>, vector<4xf32>
      %b0 = vector.broadcast %s : f32 to vector<4xf32>
      %y0 = arith.mulf %v0, %b0 : vector<4xf32>
      vector.store %y0, %tile[%t, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %v1 = vector.load %in[%r1, %c0] : memref<640x4xf32>, vector<4xf32>
      %b1 = vector.broadcast %s : f32 to vector<4xf32>
      %y1 = arith.mulf %v1, %b1 : vector<4xf32>
      vector.store %y1, %tile[%t32, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %z = vector.load %tile[%far, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %xz = arith.mulf %x, %z : vector<4xf32>
      %next = arith.addf %acc, %xz : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
