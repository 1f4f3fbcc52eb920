// Rows of 60 bytes: copies of 4 bytes whose last ones reach over the end and are filled with zeros.
// PLAN loop 0
gpu.module @m {
  gpu.func @ragged_rows(%in: memref<32x30xf16> {llvm.noalias, llvm.align = 16 : i64},
                        %out: memref<32x2xf16> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c8 = arith.constant 8 : index
    %c31 = arith.constant 31 : index
    %c30 = arith.constant 30 : index
    %fill = arith.constant 0.0 : f16
    %zero = arith.constant dense<0.0> : vector<2xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x8xf16, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c30 step %c8 iter_args(%s = %zero) -> (vector<2xf16>) {
      scf.for %q = %c0 to %c8 step %c2 {
        %column = arith.addi %i, %q : index
        %v = vector.transfer_read %in[%t, %column], %fill : memref<32x30xf16>, vector<2xf16>
        vector.store %v, %tile[%t, %q] : memref<32x8xf16, #gpu.address_space<workgroup>>, vector<2xf16>
      }
      gpu.barrier
      %s5 = scf.for %q = %c0 to %c8 step %c2 iter_args(%s1 = %s) -> (vector<2xf16>) {
        %x = vector.load %tile[%mirror, %q] : memref<32x8xf16, #gpu.address_space<workgroup>>, vector<2xf16>
        %s2 = arith.addf %s1, %x : vector<2xf16>
        scf.yield %s2 : vector<2xf16>
      }
      gpu.barrier
      scf.yield %s5 : vector<2xf16>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 4 : i64} : memref<32x2xf16>, vector<2xf16>
    gpu.return
  }
}
