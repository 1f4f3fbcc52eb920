// A kernel as most write them: nothing says how its arguments are aligned.
gpu.module @m {
  gpu.func @k(%src: memref<1024x4xf32> {llvm.noalias},
    %dst: memref<1024x4xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c4 = arith.constant 4 : index
    %c16 = arith.constant 16 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %t : index
      %v = vector.load %src[%row, %c0] : memref<1024x4xf32>, vector<4xf32>
      vector.store %v, %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %s[%mirror, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%t, %c0] : memref<1024x4xf32>, vector<4xf32>
    gpu.return
  }
}
