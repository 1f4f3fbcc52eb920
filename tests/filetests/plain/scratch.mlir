// Another buffer exchanges values between threads in the loop.
gpu.module @m {
  gpu.func @k(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %sc = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %e = vector.extract %x[0] : f32 from vector<4xf32>
      memref.store %e, %sc[%t] : memref<32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %o = memref.load %sc[%mirror] : memref<32xf32, #gpu.address_space<workgroup>>
      %ov = vector.broadcast %o : f32 to vector<4xf32>
      %y = arith.mulf %x, %ov : vector<4xf32>
      %s2 = arith.addf %s, %y : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
