// The guard stands in a loop over the pieces of a row.
// ARGUMENT 1 300
gpu.module @m {
  gpu.func @k(%in: memref<640x4xf16> {llvm.noalias, llvm.align = 16 : i64},
      %m: index,
      %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c10 = arith.constant 10 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %tile = memref.alloc() : memref<64x4xf32, #gpu.address_space<workgroup>>
    %mirror = arith.subi %c31, %t : index
    %zh = arith.constant dense<0.0> : vector<4xf16>
    %sum = scf.for %k = %c0 to %c10 step %c1 iter_args(%s = %zero) -> (vector<4xf32>) {
      %i = arith.muli %k, %c64 : index
      scf.for %q = %c0 to %c64 step %c32 {
        %p = arith.addi %q, %t : index
        %row = arith.addi %i, %p : index
        %on = arith.cmpi ult, %row, %m : index
        %v = scf.if %on -> (vector<4xf16>) {
          %l = vector.load %in[%row, %c0] : memref<640x4xf16>, vector<4xf16>
          scf.yield %l : vector<4xf16>
        } else { scf.yield %zh : vector<4xf16> }
        %y = arith.extf %v : vector<4xf16> to vector<4xf32>
        vector.store %y, %tile[%p, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      }
      gpu.barrier
      %x = vector.load %tile[%mirror, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %s2 = arith.addf %s, %x : vector<4xf32>
      gpu.barrier
      scf.yield %s2 : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
