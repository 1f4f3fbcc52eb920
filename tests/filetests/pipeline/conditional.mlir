// Copies and their reads under one condition that changes with the iterations.
// PLAN loop 0
gpu.module @m {
  gpu.func @conditional(%in: memref<640x4xf32> {llvm.noalias, llvm.align = 16 : i64},
                        %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %c96 = arith.constant 96 : index
    %c640 = arith.constant 640 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c640 step %c32 iter_args(%s = %zero) -> (vector<4xf32>) {
      %third = arith.remui %i, %c96 : index
      %on = arith.cmpi ne, %third, %c64 : index
      scf.if %on {
        %row = arith.addi %i, %t : index
        %v = vector.load %in[%row, %c0] : memref<640x4xf32>, vector<4xf32>
        vector.store %v, %tile[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      }
      gpu.barrier
      %s2 = scf.if %on -> (vector<4xf32>) {
        %x = vector.load %tile[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %s3 = arith.addf %s, %x : vector<4xf32>
        scf.yield %s3 : vector<4xf32>
      } else {
        %s4 = arith.subf %zero, %s : vector<4xf32>
        scf.yield %s4 : vector<4xf32>
      }
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
