// What a launch takes from outside is annotated where it is an argument, and stripped from there.
// RUN alcop opt %s --alcop-detect | FileCheck %s
// RUN alcop opt %s --alcop-detect --alcop-strip | FileCheck %s --check-prefix=STRIPPED
// CHECK: func.func @f(%arg0: memref<32xf32, #gpu.address_space<workgroup>> {alcop.verdict = "rejected"}, %arg1: memref<32xf32>)
// STRIPPED: func.func @f(%arg0: memref<32xf32, #gpu.address_space<workgroup>>, %arg1: memref<32xf32>)
// STRIPPED-NOT: alcop
func.func @f(%s: memref<32xf32, #gpu.address_space<workgroup>>, %src: memref<32xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  %c32 = arith.constant 32 : index
  gpu.launch blocks(%bx, %by, %bz) in (%gx = %c1, %gy = %c1, %gz = %c1)
      threads(%tx, %ty, %tz) in (%sx = %c32, %sy = %c1, %sz = %c1) {
    scf.for %i = %c0 to %c8 step %c1 {
      %v = memref.load %src[%tx] : memref<32xf32>
      memref.store %v, %s[%tx] : memref<32xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %w = memref.load %s[%tx] : memref<32xf32, #gpu.address_space<workgroup>>
      memref.store %w, %src[%tx] : memref<32xf32>
      gpu.barrier
    }
    gpu.terminator
  }
  return
}
