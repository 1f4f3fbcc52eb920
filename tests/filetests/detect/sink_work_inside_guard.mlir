// One is added inside of the guard, whose other side is one: what the work makes of zeros.
// EXPECT memref.alloc#0 loop=0 verdict=after-sinking async=16
// EXPECT vector.load#1 loop=0 verdict=after-sinking depth=2
gpu.module @m {
  gpu.func @work_inside_guard(%in: memref<320x4xf32> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c10 = arith.constant 10 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %one = arith.constant dense<1.0> : vector<4xf32>
    %two = arith.constant dense<2.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %few = arith.cmpi ult, %t, %c10 : index
    %sum = scf.for %i = %c0 to %c320 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %in[%row, %c0] : memref<320x4xf32>, vector<4xf32>
      %w = arith.addf %v, %one : vector<4xf32>
      %g = arith.select %few, %w, %one : vector<4xf32>
      %y = arith.mulf %g, %two : vector<4xf32>
      vector.store %y, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
