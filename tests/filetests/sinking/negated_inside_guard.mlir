// The other side is zero, and the work inside makes a negative zero of zero: not the same bits.
// EXPECT not-a-pure-copy
gpu.module @m {
  gpu.func @negated_inside_guard(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c10 = arith.constant 10 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %minus = arith.constant dense<-1.0> : vector<4xf32>
    %i31 = arith.constant dense<31> : vector<4xi32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %few = arith.cmpi ult, %t, %c10 : index
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      %w = arith.mulf %v, %minus : vector<4xf32>
      %y = arith.select %few, %w, %zero : vector<4xf32>
      vector.store %y, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %bits = arith.bitcast %x : vector<4xf32> to vector<4xi32>
      %sign = arith.shrui %bits, %i31 : vector<4xi32>
      %signs = arith.uitofp %sign : vector<4xi32> to vector<4xf32>
      %next = arith.addf %acc, %signs : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
