// The condition is on a value that equals the number of the thread.
gpu.module @m {
  gpu.func @k(%in: memref<10x32xf32> {llvm.noalias, llvm.align = 16 : i64},
      %n: index,
      %out: memref<32xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c10 = arith.constant 10 : index
    %c31 = arith.constant 31 : index
    %f0 = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %p = arith.cmpi ult, %t, %n : index
    %sum = scf.for %k = %c0 to %c10 step %c1 iter_args(%s = %f0) -> (f32) {
      %v = memref.load %in[%k, %t] : memref<10x32xf32>
      %w = arith.select %p, %v, %f0 : f32
      %y = arith.maximumf %w, %f0 : f32
      memref.store %y, %tile[%t] : memref<32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = memref.load %tile[%mirror] : memref<32xf32, #gpu.address_space<workgroup>>
      %s2 = arith.addf %s, %x : f32
      gpu.barrier
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<32xf32>
    gpu.return
  }
}
