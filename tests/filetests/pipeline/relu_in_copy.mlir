// A cast and a ReLU between load and store: they move behind the reads, and the buffer holds what is loaded.
// PLAN loop 0
gpu.module @m {
  gpu.func @relu_in_copy(%in: memref<256x8xf16> {llvm.noalias, llvm.align = 16 : i64},
                         %factor: f32,
                         %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %none = arith.constant dense<0.0> : vector<8xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %factors = vector.broadcast %factor : f32 to vector<8xf32>
    %tile = memref.alloc() : memref<32x8xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c256 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x8xf16>, vector<8xf16>
      %wide = arith.extf %v : vector<8xf16> to vector<8xf32>
      %scaled = arith.mulf %wide, %factors : vector<8xf32>
      %relu = arith.maximumf %scaled, %none : vector<8xf32>
      vector.store %relu, %tile[%t, %c0] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<8xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %y = vector.load %tile[%mirror, %c4] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      %s3 = arith.subf %s2, %y : vector<4xf32>
      gpu.barrier
      scf.yield %s3 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
