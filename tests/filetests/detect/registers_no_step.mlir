// A loop over no steps.
// EXPECT workgroup#0 loop=0 verdict=pipelinable depth=32 async=16
// EXPECT workgroup#1 loop=0 verdict=pipelinable depth=32 async=16
// EXPECT nvgpu.ldmatrix#0 loop=1 verdict=rejected codes=register-depth-exceeds-chunk
// EXPECT nvgpu.ldmatrix#1 loop=1 verdict=rejected codes=register-depth-exceeds-chunk
gpu.module @m {
  gpu.func @mm(%a: memref<16x512xf16> {llvm.noalias, llvm.align = 16 : i64}, %b: memref<512x8xf16> {llvm.noalias, llvm.align = 16 : i64}, %c: memref<2x2xf32> {llvm.noalias})
    workgroup(%sa: memref<16x32xf16, #gpu.address_space<workgroup>>, %sb: memref<32x8xf16, #gpu.address_space<workgroup>>)
    kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %c512 = arith.constant 512 : index
    %zero = arith.constant dense<0.0> : vector<2x2xf32>
    %t = gpu.thread_id x
    %r = arith.divui %t, %c4 : index
    %r8 = arith.addi %r, %c8 : index
    %q = arith.remui %t, %c4 : index
    %col = arith.muli %q, %c8 : index
    %lr = arith.remui %t, %c16 : index
    %lh = arith.divui %t, %c16 : index
    %lc = arith.muli %lh, %c8 : index
    %sum = scf.for %k = %c0 to %c512 step %c32 iter_args(%acc = %zero) -> (vector<2x2xf32>) {
      %kc = arith.addi %k, %col : index
      %v0 = vector.load %a[%r, %kc] : memref<16x512xf16>, vector<8xf16>
      vector.store %v0, %sa[%r, %col] : memref<16x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v1 = vector.load %a[%r8, %kc] : memref<16x512xf16>, vector<8xf16>
      vector.store %v1, %sa[%r8, %col] : memref<16x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %kr = arith.addi %k, %t : index
      %v2 = vector.load %b[%kr, %c0] : memref<512x8xf16>, vector<8xf16>
      vector.store %v2, %sb[%t, %c0] : memref<32x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      gpu.barrier
      %in = scf.for %ki = %c32 to %c32 step %c16 iter_args(%x = %acc) -> (vector<2x2xf32>) {
        %ac = arith.addi %ki, %lc : index
        %br = arith.addi %ki, %lr : index
        %fa = nvgpu.ldmatrix %sa[%lr, %ac] {numTiles = 4 : i32, transpose = false} : memref<16x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
        %fb = nvgpu.ldmatrix %sb[%br, %c0] {numTiles = 2 : i32, transpose = true} : memref<32x8xf16, #gpu.address_space<workgroup>> -> vector<2x2xf16>
        %y = nvgpu.mma.sync (%fa, %fb, %x) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
        scf.yield %y : vector<2x2xf32>
      }
      gpu.barrier
      scf.yield %in : vector<2x2xf32>
    }
    vector.store %sum, %c[%c0, %c0] : memref<2x2xf32>, vector<2x2xf32>
    gpu.return
  }
}
