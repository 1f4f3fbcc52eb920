// Values are copied behind the reads of the keys: each buffer has its own position in the stream of groups.
// PLAN loop 0 waits 2
gpu.module @m {
  gpu.func @values_copied_later(%keys: memref<64x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                                %values: memref<64x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                                %out: memref<64x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c63 = arith.constant 63 : index
    %c64 = arith.constant 64 : index
    %zeros = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %r = arith.divui %t, %c8 : index
    %q = arith.remui %t, %c8 : index
    %column = arith.muli %q, %c4 : index
    %mirror = arith.subi %c63, %t : index
    %q2 = arith.remui %mirror, %c8 : index
    %other = arith.muli %q2, %c4 : index
    %k = memref.alloc() : memref<8x32xf32, #gpu.address_space<workgroup>>
    %v = memref.alloc() : memref<8x32xf32, #gpu.address_space<workgroup>>
    %o = scf.for %i = %c0 to %c64 step %c8 iter_args(%acc = %zeros) -> (vector<4xf32>) {
      %row = arith.addi %i, %r : index
      %kv = vector.load %keys[%row, %column] : memref<64x32xf32>, vector<4xf32>
      vector.store %kv, %k[%r, %column] : memref<8x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %s = scf.for %j = %c0 to %c8 step %c1 iter_args(%sum = %acc) -> (vector<4xf32>) {
        %b = vector.load %k[%j, %other] : memref<8x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %n = arith.addf %sum, %b : vector<4xf32>
        scf.yield %n : vector<4xf32>
      }
      gpu.barrier
      %vv = vector.load %values[%row, %column] : memref<64x32xf32>, vector<4xf32>
      vector.store %vv, %v[%r, %column] : memref<8x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %next = scf.for %j = %c0 to %c8 step %c1 iter_args(%sum = %s) -> (vector<4xf32>) {
        %b = vector.load %v[%j, %other] : memref<8x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %n = arith.subf %sum, %b : vector<4xf32>
        scf.yield %n : vector<4xf32>
      }
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %o, %out[%t, %c0] {alignment = 16 : i64} : memref<64x4xf32>, vector<4xf32>
    gpu.return
  }
}
