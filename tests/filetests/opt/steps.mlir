// Each step alone: rings, loops, wait counts, layout. What comes out of each is right, also without the next.
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-plan{shared-stages=3 register-stages=1},alcop-multi-buffer,alcop-check-hazards)' | FileCheck %s --check-prefix=RINGS
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-plan{shared-stages=3 register-stages=1},alcop-multi-buffer,alcop-expand,alcop-check-hazards)' | FileCheck %s --check-prefix=LOOPS
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-plan{shared-stages=3 register-stages=1},alcop-multi-buffer,alcop-expand,alcop-waits,alcop-check-hazards)' | FileCheck %s --check-prefix=WAITS
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-plan{shared-stages=3 register-stages=1},alcop-multi-buffer,alcop-expand,alcop-waits,alcop-swizzle,alcop-check-hazards)' | FileCheck %s --check-prefix=LAID
// RUN alcop opt %s --pass-pipeline='builtin.module(alcop-plan{shared-stages=3 register-stages=1},alcop-expand,alcop-strip,alcop-check-hazards)' | FileCheck %s --check-prefix=STRIPPED
// RINGS: alcop.plan = {{.*}}op = "memref.view"
// RINGS: %[[BYTES:[a-z0-9_]+]] = memref.view %{{.*}} to memref<6144xi8
// RINGS: %[[SLOT:[a-z0-9_]+]] = memref.view %[[BYTES]][%c0{{.*}} to memref<32x16xf32
// RINGS: scf.for
// RINGS: vector.store %{{.*}}, %[[SLOT]]
// RINGS-NOT: memref.alloc
// LOOPS-NOT: alcop.plan
// LOOPS: memref.view %{{.*}} to memref<6144xi8
// LOOPS: scf.for
// LOOPS: nvvm.cp.async.wait.group 0 {alcop.wait = {event = 0 : i64, loop = 0 : i64}}
// LOOPS: memref.view {{.*}}{alcop.layout = "xor"}
// LOOPS-NOT: arith.xori
// LOOPS: {alcop.positions = {buffers = [{asynchronous = true, distance = 2 : i64, {{.*}}slots = 3 : i64
// WAITS: scf.for
// WAITS: nvvm.cp.async.wait.group 1{{$}}
// WAITS: alcop.layout = "xor"
// WAITS-NOT: alcop.positions
// LAID-NOT: alcop
// LAID: arith.xori
// LAID: nvgpu.device_async_copy
// LAID: nvvm.cp.async.wait.group 1{{$}}
// LAID: arith.xori
// LAID: vector.load
// LAID-NOT: alcop
// STRIPPED-NOT: alcop.
// STRIPPED: nvvm.cp.async.wait.group 0{{$}}
// STRIPPED-NOT: arith.xori
gpu.module @m {
  gpu.func @k(%src: memref<1024x16xf32> {llvm.noalias, llvm.align = 16 : i64},
    %dst: memref<1024x16xf32> {llvm.noalias}) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c4 = arith.constant 4 : index
    %c31 = arith.constant 31 : index
    %c32 = arith.constant 32 : index
    %c1024 = arith.constant 1024 : index
    %zero = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %r = arith.divui %t, %c4 : index
    %q = arith.remui %t, %c4 : index
    %c = arith.muli %q, %c4 : index
    %mirror = arith.subi %c31, %r : index
    %s = memref.alloc() : memref<32x16xf32, #gpu.address_space<workgroup>>
    %sum = scf.for %i = %c0 to %c1024 step %c32 iter_args(%acc = %zero) -> (vector<4xf32>) {
      %row = arith.addi %i, %r : index
      %v = vector.load %src[%row, %c] : memref<1024x16xf32>, vector<4xf32>
      vector.store %v, %s[%r, %c] : memref<32x16xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %x = vector.load %s[%mirror, %c] : memref<32x16xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %next = arith.addf %acc, %x : vector<4xf32>
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %sum, %dst[%r, %c] : memref<1024x16xf32>, vector<4xf32>
    gpu.return
  }
}
