// Lists of different lengths, which stand in memory, empty ones too: the inner pipeline drains after each.
// PLAN loop 1
gpu.module @m {
  gpu.func @lists(%lengths: memref<9xi32> {llvm.noalias, llvm.align = 16 : i64},
                  %in: memref<9x8x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                  %out: memref<9x32xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c9 = arith.constant 9 : index
    %c31 = arith.constant 31 : index
    %zero = arith.constant 0.0 : f32
    %t = gpu.thread_id x
    %mirror = arith.subi %c31, %t : index
    %line = memref.alloc() : memref<32xf32, #gpu.address_space<workgroup>>
    scf.for %list = %c0 to %c9 step %c1 {
      %length = memref.load %lengths[%list] : memref<9xi32>
      %end = arith.index_cast %length : i32 to index
      %sum = scf.for %i = %c0 to %end step %c1 iter_args(%s = %zero) -> (f32) {
        %v = memref.load %in[%list, %i, %t] : memref<9x8x32xf32>
        memref.store %v, %line[%t] : memref<32xf32, #gpu.address_space<workgroup>>
        gpu.barrier
        %x = memref.load %line[%mirror] : memref<32xf32, #gpu.address_space<workgroup>>
        %s2 = arith.addf %s, %x : f32
        gpu.barrier
        scf.yield %s2 : f32
      }
      memref.store %sum, %out[%list, %t] : memref<9x32xf32>
    }
    memref.dealloc %line : memref<32xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}
