// Two copies whose work differs in the predicate of a comparison alone.
gpu.module @m { gpu.func @k(%in: memref<4x64xf32> {llvm.noalias}, %n: index, %out: memref<32xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c63 = arith.constant 63 : index
    %f0 = arith.constant 0.0 : f32
    %f1 = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %m = arith.subi %c31, %t : index
    %f10 = arith.constant 10.0 : f32
    %tile = memref.alloc() : memref<64xf32, #gpu.address_space<workgroup>>
    %t2 = arith.addi %t, %c32 : index
    %m2 = arith.subi %c63, %t : index
    %p = arith.cmpi eq, %n, %c1 : index
    %q = arith.cmpi ne, %n, %c1 : index
    %sum = scf.for %k = %c0 to %c4 step %c1 iter_args(%s = %f0) -> (f32) {
      %v = memref.load %in[%k, %t] : memref<4x64xf32>
      %y = arith.select %p, %v, %f1 : f32
      memref.store %y, %tile[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      %w = memref.load %in[%k, %t2] : memref<4x64xf32>
      %z = arith.select %q, %w, %f1 : f32
      memref.store %z, %tile[%t2] : memref<64xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %a = memref.load %tile[%m] : memref<64xf32, #gpu.address_space<workgroup>>
      %b = memref.load %tile[%m2] : memref<64xf32, #gpu.address_space<workgroup>>
      %b10 = arith.mulf %b, %f10 : f32
      %ab = arith.addf %a, %b10 : f32
      %s2 = arith.addf %s, %ab : f32
      gpu.barrier
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<32xf32>
    gpu.return } }
