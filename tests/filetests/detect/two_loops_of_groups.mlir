// The copies of both loops are asynchronous and waited for at once: a group of the first writes no memory that the second
// one copies.
// EXPECT memref.alloc#0 loop=0 verdict=pipelinable depth=32 async=16
// EXPECT memref.alloc#0 loop=1 verdict=pipelinable depth=32 async=16
// EXPECT vector.load#0 loop=0 verdict=pipelinable depth=2
// EXPECT vector.load#1 loop=1 verdict=pipelinable depth=2
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c96 = arith.constant 96 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = arith.constant dense<1.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %first = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %token = nvgpu.device_async_copy %src[%row, %c0], %s[%t, %c0], 4 : memref<1024x4xf32> to memref<32x4xf32, #gpu.address_space<workgroup>>
      %group = nvgpu.device_async_create_group %token
      nvgpu.device_async_wait %group
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %first) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %token = nvgpu.device_async_copy %src[%row, %c0], %s[%t, %c0], 4 : memref<1024x4xf32> to memref<32x4xf32, #gpu.address_space<workgroup>>
      %group = nvgpu.device_async_create_group %token
      nvgpu.device_async_wait %group
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.return
  }
}
