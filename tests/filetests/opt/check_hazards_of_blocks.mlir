// Block 1 skips the barrier.
// RUN(1) alcop opt %s --alcop-check-hazards 2>&1 | FileCheck %s
// CHECK: error: kernel k has hazards: read-without-barrier: block (1, 0, 0), thread {{.*}} [hazard]
gpu.module @m {
  gpu.func @k(%dst: memref<64xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 2, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c63 = arith.constant 63 : index
    %one = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %b = gpu.block_id x
    %mirror = arith.subi %c63, %t : index
    %s = memref.alloc() : memref<64xf32, #gpu.address_space<workgroup>>
    memref.store %one, %s[%t] : memref<64xf32, #gpu.address_space<workgroup>>
    %first = arith.cmpi eq, %b, %c0 : index
    scf.if %first {
      gpu.barrier
    }
    %x = memref.load %s[%mirror] : memref<64xf32, #gpu.address_space<workgroup>>
    memref.store %x, %dst[%t] : memref<64xf32>
    gpu.return
  }
}
