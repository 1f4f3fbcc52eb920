// Rows whose numbers stand in memory: they are looked up one chunk earlier than the rows are copied.
// PLAN loop 0
gpu.module @m {
  gpu.func @gather(%rows: memref<12xi32> {llvm.noalias, llvm.align = 16 : i64},
                   %in: memref<40x64xf32> {llvm.noalias, llvm.align = 16 : i64},
                   %out: memref<64xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c12 = arith.constant 12 : index
    %c63 = arith.constant 63 : index
    %zero = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %mirror = arith.subi %c63, %t : index
    %line = memref.alloc() : memref<64xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c12 step %c1 iter_args(%s = %zero) -> (f32) {
      %found = memref.load %rows[%i] : memref<12xi32>
      %row = arith.index_cast %found : i32 to index
      %v = memref.load %in[%row, %t] : memref<40x64xf32>
      memref.store %v, %line[%t] : memref<64xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %x = memref.load %line[%mirror] : memref<64xf32, #gpu.address_space<workgroup>>
      %s2 = arith.addf %s, %x : f32
      gpu.barrier
      scf.yield %s2 : f32
    }
    memref.store %sum, %out[%t] : memref<64xf32>
    gpu.return
  }
}
