// A select between what was loaded and zero, then work: the reader must not use its own condition.
// ARGUMENT 1 10
gpu.module @m { gpu.func @k(%in: memref<4x32xf32> {llvm.noalias}, %n: index, %out: memref<32xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %f0 = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %m = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    %p = arith.cmpi ult, %t, %n : index
    %sum = scf.for %k = %c0 to %c4 step %c1 iter_args(%s = %f0) -> (f32) {
      %v = memref.load %in[%k, %t] : memref<4x32xf32>
      %w = arith.select %p, %v, %f0 : f32
      %y = arith.maximumf %w, %f0 : f32
      memref.store %y, %tile[%t] : memref<32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = memref.load %tile[%m] : memref<32xf32, #gpu.address_space<workgroup>>
      %s2 = arith.addf %s, %x : f32
      gpu.barrier
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<32xf32>
    gpu.return } }
