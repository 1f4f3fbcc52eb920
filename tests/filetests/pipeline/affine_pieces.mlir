// Copies in a loop of the affine dialect, to an index that is delinearized.
// PLAN loop 0
gpu.module @m {
  gpu.func @affine_pieces(%in: memref<32x64xf32> {llvm.noalias, llvm.align = 16 : i64},
                          %out: memref<32x4xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %c31 = arith.constant 31 : index
    %c64 = arith.constant 64 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32x16xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c64 step %c16 iter_args(%s = %zero) -> (vector<4xf32>) {
      affine.for %q = 0 to 16 step 4 {
        %column = affine.apply affine_map<(d0, d1) -> (d0 + d1)>(%i, %q)
        %v = vector.load %in[%t, %column] : memref<32x64xf32>, vector<4xf32>
        vector.store %v, %tile[%t, %q] : memref<32x16xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      }
      gpu.barrier
      %y = affine.for %q = 0 to 16 step 4 iter_args(%a = %s) -> (vector<4xf32>) {
        %x = vector.load %tile[%mirror, %q] : memref<32x16xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %s2 = arith.addf %a, %x : vector<4xf32>
        affine.yield %s2 : vector<4xf32>
      }
      gpu.barrier
      scf.yield %y : vector<4xf32>
    }
    vector.store %sum, %out[%t, %c0] {alignment = 16 : i64} : memref<32x4xf32>, vector<4xf32>
    gpu.return
  }
}
