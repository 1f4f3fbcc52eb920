// One barrier is missing, in one iteration.
gpu.module @m { gpu.func @k(%in: memref<64x32xf32> {llvm.noalias}, %out: memref<32xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %c60 = arith.constant 60 : index
    %c31 = arith.constant 31 : index
    %f0 = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %m = arith.subi %c31, %t : index
    %tile = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    memref.store %f0, %tile[%t] : memref<32xf32, #gpu.address_space<workgroup>>
    gpu.barrier
    %sum = scf.for %k = %c0 to %c60 step %c1 iter_args(%s = %f0) -> (f32) {
      %is = arith.cmpi ne, %k, %c5 : index
      %v = memref.load %in[%k, %t] : memref<64x32xf32>
      scf.if %is { gpu.barrier }
      memref.store %v, %tile[%t] : memref<32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = memref.load %tile[%m] : memref<32xf32, #gpu.address_space<workgroup>>
      %s2 = arith.addf %s, %x : f32
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<32xf32>
    gpu.return } }
