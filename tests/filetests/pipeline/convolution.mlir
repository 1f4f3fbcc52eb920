// A one-channel convolution, 3 by 3, padded: loops over the window around one over channel groups, guards with zeros.
// PLAN loop 2 around 0 1
gpu.module @m {
  gpu.func @convolution(%in: memref<8x8x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                        %weights: memref<3x3x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                        %out: memref<64xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %zero = arith.constant 0.0 : f32
    %zeros = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %y = arith.divui %t, %c8 : index
    %x = arith.remui %t, %c8 : index
    %image = memref.alloc() : memref<64x16xf32, #gpu.address_space<workgroup>>
    %taps = memref.alloc() : memref<64x4xf32, #gpu.address_space<workgroup>>
    %four = arith.remui %t, %c4 : index
    %at = arith.muli %four, %c4 : index
    %sum = scf.for %kh = %c0 to %c3 step %c1 iter_args(%s0 = %zero) -> (f32) {
      %sum1 = scf.for %kw = %c0 to %c3 step %c1 iter_args(%s1 = %s0) -> (f32) {
        %sum2 = scf.for %c = %c0 to %c32 step %c16 iter_args(%s2 = %s1) -> (f32) {
          %y1 = arith.addi %y, %kh : index
          %x1 = arith.addi %x, %kw : index
          %yy = arith.subi %y1, %c1 : index
          %xx = arith.subi %x1, %c1 : index
          %iny = arith.cmpi ult, %yy, %c8 : index
          %inx = arith.cmpi ult, %xx, %c8 : index
          %inside = arith.andi %iny, %inx : i1
          scf.for %q = %c0 to %c16 step %c4 {
            %channel = arith.addi %c, %q : index
            %v = scf.if %inside -> (vector<4xf32>) {
              %loaded = vector.load %in[%yy, %xx, %channel] : memref<8x8x32xf32>, vector<4xf32>
              scf.yield %loaded : vector<4xf32>
            } else {
              scf.yield %zeros : vector<4xf32>
            }
            vector.store %v, %image[%t, %q] : memref<64x16xf32, #gpu.address_space<workgroup>>, vector<4xf32>
          }
          %tap = arith.addi %c, %at : index
          %w = vector.load %weights[%kh, %kw, %tap] : memref<3x3x32xf32>, vector<4xf32>
          vector.store %w, %taps[%t, %c0] : memref<64x4xf32, #gpu.address_space<workgroup>>, vector<4xf32>
          gpu.barrier
          %sum3 = scf.for %q = %c0 to %c16 step %c1 iter_args(%s3 = %s2) -> (f32) {
            %row = arith.divui %q, %c4 : index
            %column = arith.remui %q, %c4 : index
            %a = memref.load %image[%t, %q] : memref<64x16xf32, #gpu.address_space<workgroup>>
            %b = memref.load %taps[%row, %column] : memref<64x4xf32, #gpu.address_space<workgroup>>
            %product = arith.mulf %a, %b : f32
            %s4 = arith.addf %s3, %product : f32
            scf.yield %s4 : f32
          }
          gpu.barrier
          scf.yield %sum3 : f32
        }
        scf.yield %sum2 : f32
      }
      scf.yield %sum1 : f32
    }
    memref.store %sum, %out[%t] : memref<64xf32>
    gpu.return
  }
}
