// The greatest element and the sum of exponentials so far, as attention keeps them, of a tanh that moves out of the copy:
// math operations in the reads of a pipeline become sequences of instructions.
// PLAN loop 0
gpu.module @m {
  gpu.func @softmax_online(%in: memref<256x8xf16> {llvm.noalias, llvm.align = 16 : i64},
                           %cap: f32,
                           %greatest: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                           %sums: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c256 = arith.constant 256 : index
    %least = arith.constant dense<-1.0e+30> : vector<4xf32>
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %caps = vector.broadcast %cap : f32 to vector<8xf32>
    %tile = memref.alloc() : memref<32x8xf32, #gpu.address_space<workgroup>>
    %m, %s = scf.for %i = %c0 to %c256 step %c32 iter_args(%m0 = %least, %s0 = %zero) -> (vector<4xf32>, vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<256x8xf16>, vector<8xf16>
      %wide = arith.extf %v : vector<8xf16> to vector<8xf32>
      %bent = math.tanh %wide : vector<8xf32>
      %scaled = arith.mulf %bent, %caps : vector<8xf32>
      vector.store %scaled, %tile[%t, %c0] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<8xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %y = vector.load %tile[%mirror, %c4] : memref<32x8xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %angle = math.cos %y : vector<4xf32>
      %score = arith.mulf %x, %angle : vector<4xf32>
      %m1 = arith.maximumf %m0, %score : vector<4xf32>
      %fall = arith.subf %m0, %m1 : vector<4xf32>
      %keep = math.exp %fall : vector<4xf32>
      %rise = arith.subf %score, %m1 : vector<4xf32>
      %part = math.exp %rise : vector<4xf32>
      %kept = arith.mulf %s0, %keep : vector<4xf32>
      %s1 = arith.addf %kept, %part : vector<4xf32>
      gpu.barrier
      scf.yield %m1, %s1 : vector<4xf32>, vector<4xf32>
    }
    vector.store %m, %greatest[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    vector.store %s, %sums[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
