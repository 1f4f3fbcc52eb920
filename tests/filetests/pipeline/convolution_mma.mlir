// A convolution, 3 by 3 and padded, on tensor cores: a row of A is a pixel, and a chunk is half of its 64 channels.
// PLAN loop 2 around 0 1
module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @matmul(%arg0: memref<8x8x64xf16> {llvm.align = 16 : i64, llvm.noalias}, %arg1: memref<3x3x64x64xf16> {llvm.align = 16 : i64, llvm.noalias}, %arg2: memref<64x64xf32> {llvm.align = 16 : i64, llvm.noalias}) workgroup(%arg3 : memref<64x32xf16, #gpu.address_space<workgroup>>, %arg4 : memref<64x32xf16, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
      %thread_id_x = gpu.thread_id  x
      %c32 = arith.constant 32 : index
      %0 = arith.divui %thread_id_x, %c32 : index
      %c32_0 = arith.constant 32 : index
      %1 = arith.remui %thread_id_x, %c32_0 : index
      %c1 = arith.constant 1 : index
      %2 = arith.remui %0, %c1 : index
      %c64 = arith.constant 64 : index
      %3 = arith.muli %2, %c64 : index
      %c1_1 = arith.constant 1 : index
      %4 = arith.divui %0, %c1_1 : index
      %c64_2 = arith.constant 64 : index
      %5 = arith.muli %4, %c64_2 : index
      %block_id_x = gpu.block_id  x
      %c64_3 = arith.constant 64 : index
      %6 = arith.muli %block_id_x, %c64_3 : index
      %block_id_y = gpu.block_id  y
      %c64_4 = arith.constant 64 : index
      %7 = arith.muli %block_id_y, %c64_4 : index
      %c4 = arith.constant 4 : index
      %8 = arith.divui %thread_id_x, %c4 : index
      %c4_5 = arith.constant 4 : index
      %9 = arith.remui %thread_id_x, %c4_5 : index
      %c8 = arith.constant 8 : index
      %10 = arith.muli %9, %c8 : index
      %11 = arith.addi %6, %8 : index
      %c4_6 = arith.constant 4 : index
      %12 = arith.divui %thread_id_x, %c4_6 : index
      %c4_7 = arith.constant 4 : index
      %13 = arith.remui %thread_id_x, %c4_7 : index
      %c8_8 = arith.constant 8 : index
      %14 = arith.muli %13, %c8_8 : index
      %15 = arith.addi %7, %12 : index
      %c8_9 = arith.constant 8 : index
      %16 = arith.remui %1, %c8_9 : index
      %c8_10 = arith.constant 8 : index
      %17 = arith.divui %1, %c8_10 : index
      %c2 = arith.constant 2 : index
      %18 = arith.remui %17, %c2 : index
      %c8_11 = arith.constant 8 : index
      %19 = arith.muli %18, %c8_11 : index
      %c2_12 = arith.constant 2 : index
      %20 = arith.divui %17, %c2_12 : index
      %c8_13 = arith.constant 8 : index
      %21 = arith.muli %20, %c8_13 : index
      %22 = arith.addi %16, %19 : index
      %23 = arith.addi %3, %22 : index
      %c8_14 = arith.constant 8 : index
      %24 = arith.remui %1, %c8_14 : index
      %c8_15 = arith.constant 8 : index
      %25 = arith.divui %1, %c8_15 : index
      %c2_16 = arith.constant 2 : index
      %26 = arith.remui %25, %c2_16 : index
      %c8_17 = arith.constant 8 : index
      %27 = arith.muli %26, %c8_17 : index
      %c2_18 = arith.constant 2 : index
      %28 = arith.divui %25, %c2_18 : index
      %c8_19 = arith.constant 8 : index
      %29 = arith.muli %28, %c8_19 : index
      %30 = arith.addi %24, %29 : index
      %31 = arith.addi %5, %30 : index
      %cst = arith.constant dense<0.000000e+00> : vector<2x2xf32>
      %c0 = arith.constant 0 : index
      %c64_20 = arith.constant 64 : index
      %c32_21 = arith.constant 32 : index
      %w0 = arith.constant 0 : index
      %w1 = arith.constant 1 : index
      %w3 = arith.constant 3 : index
      %w4 = arith.constant 8 : index
      %w8 = arith.constant 8 : index
      %nothing = arith.constant dense<0.0> : vector<8xf16>
      %32:32 = scf.for %kh = %w0 to %w3 step %w1 iter_args(%h0 = %cst, %h1 = %cst, %h2 = %cst, %h3 = %cst, %h4 = %cst, %h5 = %cst, %h6 = %cst, %h7 = %cst, %h8 = %cst, %h9 = %cst, %h10 = %cst, %h11 = %cst, %h12 = %cst, %h13 = %cst, %h14 = %cst, %h15 = %cst, %h16 = %cst, %h17 = %cst, %h18 = %cst, %h19 = %cst, %h20 = %cst, %h21 = %cst, %h22 = %cst, %h23 = %cst, %h24 = %cst, %h25 = %cst, %h26 = %cst, %h27 = %cst, %h28 = %cst, %h29 = %cst, %h30 = %cst, %h31 = %cst) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
      %row:32 = scf.for %kw = %w0 to %w3 step %w1 iter_args(%v0 = %h0, %v1 = %h1, %v2 = %h2, %v3 = %h3, %v4 = %h4, %v5 = %h5, %v6 = %h6, %v7 = %h7, %v8 = %h8, %v9 = %h9, %v10 = %h10, %v11 = %h11, %v12 = %h12, %v13 = %h13, %v14 = %h14, %v15 = %h15, %v16 = %h16, %v17 = %h17, %v18 = %h18, %v19 = %h19, %v20 = %h20, %v21 = %h21, %v22 = %h22, %v23 = %h23, %v24 = %h24, %v25 = %h25, %v26 = %h26, %v27 = %h27, %v28 = %h28, %v29 = %h29, %v30 = %h30, %v31 = %h31) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
      %cell:32 = scf.for %arg5 = %c0 to %c64_20 step %c32_21 iter_args(%arg6 = %v0, %arg7 = %v1, %arg8 = %v2, %arg9 = %v3, %arg10 = %v4, %arg11 = %v5, %arg12 = %v6, %arg13 = %v7, %arg14 = %v8, %arg15 = %v9, %arg16 = %v10, %arg17 = %v11, %arg18 = %v12, %arg19 = %v13, %arg20 = %v14, %arg21 = %v15, %arg22 = %v16, %arg23 = %v17, %arg24 = %v18, %arg25 = %v19, %arg26 = %v20, %arg27 = %v21, %arg28 = %v22, %arg29 = %v23, %arg30 = %v24, %arg31 = %v25, %arg32 = %v26, %arg33 = %v27, %arg34 = %v28, %arg35 = %v29, %arg36 = %v30, %arg37 = %v31) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
        %216 = arith.addi %10, %arg5 : index
        %y0 = arith.divui %11, %w8 : index
        %x0 = arith.remui %11, %w8 : index
        %ya0 = arith.addi %y0, %kh : index
        %xa0 = arith.addi %x0, %kw : index
        %yy0 = arith.subi %ya0, %w1 : index
        %xx0 = arith.subi %xa0, %w1 : index
        %iny0 = arith.cmpi ult, %yy0, %w4 : index
        %inx0 = arith.cmpi ult, %xx0, %w8 : index
        %in0 = arith.andi %iny0, %inx0 : i1
        %217 = scf.if %in0 -> (vector<8xf16>) {
          %loaded0 = vector.load %arg0[%yy0, %xx0, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded0 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c8_132 = arith.constant 8 : index
        %218 = arith.addi %11, %c8_132 : index
        %y1 = arith.divui %218, %w8 : index
        %x1 = arith.remui %218, %w8 : index
        %ya1 = arith.addi %y1, %kh : index
        %xa1 = arith.addi %x1, %kw : index
        %yy1 = arith.subi %ya1, %w1 : index
        %xx1 = arith.subi %xa1, %w1 : index
        %iny1 = arith.cmpi ult, %yy1, %w4 : index
        %inx1 = arith.cmpi ult, %xx1, %w8 : index
        %in1 = arith.andi %iny1, %inx1 : i1
        %219 = scf.if %in1 -> (vector<8xf16>) {
          %loaded1 = vector.load %arg0[%yy1, %xx1, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded1 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c16_133 = arith.constant 16 : index
        %220 = arith.addi %11, %c16_133 : index
        %y2 = arith.divui %220, %w8 : index
        %x2 = arith.remui %220, %w8 : index
        %ya2 = arith.addi %y2, %kh : index
        %xa2 = arith.addi %x2, %kw : index
        %yy2 = arith.subi %ya2, %w1 : index
        %xx2 = arith.subi %xa2, %w1 : index
        %iny2 = arith.cmpi ult, %yy2, %w4 : index
        %inx2 = arith.cmpi ult, %xx2, %w8 : index
        %in2 = arith.andi %iny2, %inx2 : i1
        %221 = scf.if %in2 -> (vector<8xf16>) {
          %loaded2 = vector.load %arg0[%yy2, %xx2, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded2 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c24_134 = arith.constant 24 : index
        %222 = arith.addi %11, %c24_134 : index
        %y3 = arith.divui %222, %w8 : index
        %x3 = arith.remui %222, %w8 : index
        %ya3 = arith.addi %y3, %kh : index
        %xa3 = arith.addi %x3, %kw : index
        %yy3 = arith.subi %ya3, %w1 : index
        %xx3 = arith.subi %xa3, %w1 : index
        %iny3 = arith.cmpi ult, %yy3, %w4 : index
        %inx3 = arith.cmpi ult, %xx3, %w8 : index
        %in3 = arith.andi %iny3, %inx3 : i1
        %223 = scf.if %in3 -> (vector<8xf16>) {
          %loaded3 = vector.load %arg0[%yy3, %xx3, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded3 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c32_135 = arith.constant 32 : index
        %224 = arith.addi %11, %c32_135 : index
        %y4 = arith.divui %224, %w8 : index
        %x4 = arith.remui %224, %w8 : index
        %ya4 = arith.addi %y4, %kh : index
        %xa4 = arith.addi %x4, %kw : index
        %yy4 = arith.subi %ya4, %w1 : index
        %xx4 = arith.subi %xa4, %w1 : index
        %iny4 = arith.cmpi ult, %yy4, %w4 : index
        %inx4 = arith.cmpi ult, %xx4, %w8 : index
        %in4 = arith.andi %iny4, %inx4 : i1
        %225 = scf.if %in4 -> (vector<8xf16>) {
          %loaded4 = vector.load %arg0[%yy4, %xx4, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded4 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c40_136 = arith.constant 40 : index
        %226 = arith.addi %11, %c40_136 : index
        %y5 = arith.divui %226, %w8 : index
        %x5 = arith.remui %226, %w8 : index
        %ya5 = arith.addi %y5, %kh : index
        %xa5 = arith.addi %x5, %kw : index
        %yy5 = arith.subi %ya5, %w1 : index
        %xx5 = arith.subi %xa5, %w1 : index
        %iny5 = arith.cmpi ult, %yy5, %w4 : index
        %inx5 = arith.cmpi ult, %xx5, %w8 : index
        %in5 = arith.andi %iny5, %inx5 : i1
        %227 = scf.if %in5 -> (vector<8xf16>) {
          %loaded5 = vector.load %arg0[%yy5, %xx5, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded5 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c48_137 = arith.constant 48 : index
        %228 = arith.addi %11, %c48_137 : index
        %y6 = arith.divui %228, %w8 : index
        %x6 = arith.remui %228, %w8 : index
        %ya6 = arith.addi %y6, %kh : index
        %xa6 = arith.addi %x6, %kw : index
        %yy6 = arith.subi %ya6, %w1 : index
        %xx6 = arith.subi %xa6, %w1 : index
        %iny6 = arith.cmpi ult, %yy6, %w4 : index
        %inx6 = arith.cmpi ult, %xx6, %w8 : index
        %in6 = arith.andi %iny6, %inx6 : i1
        %229 = scf.if %in6 -> (vector<8xf16>) {
          %loaded6 = vector.load %arg0[%yy6, %xx6, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded6 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %c56_138 = arith.constant 56 : index
        %230 = arith.addi %11, %c56_138 : index
        %y7 = arith.divui %230, %w8 : index
        %x7 = arith.remui %230, %w8 : index
        %ya7 = arith.addi %y7, %kh : index
        %xa7 = arith.addi %x7, %kw : index
        %yy7 = arith.subi %ya7, %w1 : index
        %xx7 = arith.subi %xa7, %w1 : index
        %iny7 = arith.cmpi ult, %yy7, %w4 : index
        %inx7 = arith.cmpi ult, %xx7, %w8 : index
        %in7 = arith.andi %iny7, %inx7 : i1
        %231 = scf.if %in7 -> (vector<8xf16>) {
          %loaded7 = vector.load %arg0[%yy7, %xx7, %216] {alignment = 16 : i64} : memref<8x8x64xf16>, vector<8xf16>
          scf.yield %loaded7 : vector<8xf16>
        } else {
          scf.yield %nothing : vector<8xf16>
        }
        %232 = arith.addi %14, %arg5 : index
        %233 = vector.load %arg1[%kh, %kw, %15, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c8_139 = arith.constant 8 : index
        %234 = arith.addi %15, %c8_139 : index
        %235 = vector.load %arg1[%kh, %kw, %234, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c16_140 = arith.constant 16 : index
        %236 = arith.addi %15, %c16_140 : index
        %237 = vector.load %arg1[%kh, %kw, %236, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c24_141 = arith.constant 24 : index
        %238 = arith.addi %15, %c24_141 : index
        %239 = vector.load %arg1[%kh, %kw, %238, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c32_142 = arith.constant 32 : index
        %240 = arith.addi %15, %c32_142 : index
        %241 = vector.load %arg1[%kh, %kw, %240, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c40_143 = arith.constant 40 : index
        %242 = arith.addi %15, %c40_143 : index
        %243 = vector.load %arg1[%kh, %kw, %242, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c48_144 = arith.constant 48 : index
        %244 = arith.addi %15, %c48_144 : index
        %245 = vector.load %arg1[%kh, %kw, %244, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        %c56_145 = arith.constant 56 : index
        %246 = arith.addi %15, %c56_145 : index
        %247 = vector.load %arg1[%kh, %kw, %246, %232] {alignment = 16 : i64} : memref<3x3x64x64xf16>, vector<8xf16>
        vector.store %217, %arg3[%8, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c8_146 = arith.constant 8 : index
        %248 = arith.addi %8, %c8_146 : index
        vector.store %219, %arg3[%248, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c16_147 = arith.constant 16 : index
        %249 = arith.addi %8, %c16_147 : index
        vector.store %221, %arg3[%249, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c24_148 = arith.constant 24 : index
        %250 = arith.addi %8, %c24_148 : index
        vector.store %223, %arg3[%250, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c32_149 = arith.constant 32 : index
        %251 = arith.addi %8, %c32_149 : index
        vector.store %225, %arg3[%251, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c40_150 = arith.constant 40 : index
        %252 = arith.addi %8, %c40_150 : index
        vector.store %227, %arg3[%252, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c48_151 = arith.constant 48 : index
        %253 = arith.addi %8, %c48_151 : index
        vector.store %229, %arg3[%253, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c56_152 = arith.constant 56 : index
        %254 = arith.addi %8, %c56_152 : index
        vector.store %231, %arg3[%254, %10] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        vector.store %233, %arg4[%12, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c8_153 = arith.constant 8 : index
        %255 = arith.addi %12, %c8_153 : index
        vector.store %235, %arg4[%255, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c16_154 = arith.constant 16 : index
        %256 = arith.addi %12, %c16_154 : index
        vector.store %237, %arg4[%256, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c24_155 = arith.constant 24 : index
        %257 = arith.addi %12, %c24_155 : index
        vector.store %239, %arg4[%257, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c32_156 = arith.constant 32 : index
        %258 = arith.addi %12, %c32_156 : index
        vector.store %241, %arg4[%258, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c40_157 = arith.constant 40 : index
        %259 = arith.addi %12, %c40_157 : index
        vector.store %243, %arg4[%259, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c48_158 = arith.constant 48 : index
        %260 = arith.addi %12, %c48_158 : index
        vector.store %245, %arg4[%260, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c56_159 = arith.constant 56 : index
        %261 = arith.addi %12, %c56_159 : index
        vector.store %247, %arg4[%261, %14] {alignment = 16 : i64} : memref<64x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        gpu.barrier
        %c0_160 = arith.constant 0 : index
        %c32_161 = arith.constant 32 : index
        %c16_162 = arith.constant 16 : index
        %262:32 = scf.for %arg38 = %c0_160 to %c32_161 step %c16_162 iter_args(%arg39 = %arg6, %arg40 = %arg7, %arg41 = %arg8, %arg42 = %arg9, %arg43 = %arg10, %arg44 = %arg11, %arg45 = %arg12, %arg46 = %arg13, %arg47 = %arg14, %arg48 = %arg15, %arg49 = %arg16, %arg50 = %arg17, %arg51 = %arg18, %arg52 = %arg19, %arg53 = %arg20, %arg54 = %arg21, %arg55 = %arg22, %arg56 = %arg23, %arg57 = %arg24, %arg58 = %arg25, %arg59 = %arg26, %arg60 = %arg27, %arg61 = %arg28, %arg62 = %arg29, %arg63 = %arg30, %arg64 = %arg31, %arg65 = %arg32, %arg66 = %arg33, %arg67 = %arg34, %arg68 = %arg35, %arg69 = %arg36, %arg70 = %arg37) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
          %263 = arith.addi %21, %arg38 : index
          %264 = nvgpu.ldmatrix %arg3[%23, %263] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c16_163 = arith.constant 16 : index
          %265 = arith.addi %23, %c16_163 : index
          %266 = arith.addi %21, %arg38 : index
          %267 = nvgpu.ldmatrix %arg3[%265, %266] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c32_164 = arith.constant 32 : index
          %268 = arith.addi %23, %c32_164 : index
          %269 = arith.addi %21, %arg38 : index
          %270 = nvgpu.ldmatrix %arg3[%268, %269] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c48_165 = arith.constant 48 : index
          %271 = arith.addi %23, %c48_165 : index
          %272 = arith.addi %21, %arg38 : index
          %273 = nvgpu.ldmatrix %arg3[%271, %272] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %274 = arith.addi %27, %arg38 : index
          %275 = nvgpu.ldmatrix %arg4[%31, %274] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c16_166 = arith.constant 16 : index
          %276 = arith.addi %31, %c16_166 : index
          %277 = arith.addi %27, %arg38 : index
          %278 = nvgpu.ldmatrix %arg4[%276, %277] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c32_167 = arith.constant 32 : index
          %279 = arith.addi %31, %c32_167 : index
          %280 = arith.addi %27, %arg38 : index
          %281 = nvgpu.ldmatrix %arg4[%279, %280] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c48_168 = arith.constant 48 : index
          %282 = arith.addi %31, %c48_168 : index
          %283 = arith.addi %27, %arg38 : index
          %284 = nvgpu.ldmatrix %arg4[%282, %283] {numTiles = 4 : i32, transpose = false} : memref<64x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %285 = vector.extract_strided_slice %275 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %286 = vector.extract_strided_slice %275 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %287 = vector.extract_strided_slice %278 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %288 = vector.extract_strided_slice %278 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %289 = vector.extract_strided_slice %281 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %290 = vector.extract_strided_slice %281 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %291 = vector.extract_strided_slice %284 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %292 = vector.extract_strided_slice %284 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %293 = nvgpu.mma.sync(%264, %285, %arg39) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %294 = nvgpu.mma.sync(%264, %286, %arg40) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %295 = nvgpu.mma.sync(%264, %287, %arg41) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %296 = nvgpu.mma.sync(%264, %288, %arg42) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %297 = nvgpu.mma.sync(%264, %289, %arg43) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %298 = nvgpu.mma.sync(%264, %290, %arg44) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %299 = nvgpu.mma.sync(%264, %291, %arg45) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %300 = nvgpu.mma.sync(%264, %292, %arg46) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %301 = nvgpu.mma.sync(%267, %285, %arg47) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %302 = nvgpu.mma.sync(%267, %286, %arg48) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %303 = nvgpu.mma.sync(%267, %287, %arg49) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %304 = nvgpu.mma.sync(%267, %288, %arg50) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %305 = nvgpu.mma.sync(%267, %289, %arg51) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %306 = nvgpu.mma.sync(%267, %290, %arg52) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %307 = nvgpu.mma.sync(%267, %291, %arg53) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %308 = nvgpu.mma.sync(%267, %292, %arg54) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %309 = nvgpu.mma.sync(%270, %285, %arg55) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %310 = nvgpu.mma.sync(%270, %286, %arg56) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %311 = nvgpu.mma.sync(%270, %287, %arg57) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %312 = nvgpu.mma.sync(%270, %288, %arg58) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %313 = nvgpu.mma.sync(%270, %289, %arg59) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %314 = nvgpu.mma.sync(%270, %290, %arg60) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %315 = nvgpu.mma.sync(%270, %291, %arg61) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %316 = nvgpu.mma.sync(%270, %292, %arg62) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %317 = nvgpu.mma.sync(%273, %285, %arg63) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %318 = nvgpu.mma.sync(%273, %286, %arg64) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %319 = nvgpu.mma.sync(%273, %287, %arg65) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %320 = nvgpu.mma.sync(%273, %288, %arg66) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %321 = nvgpu.mma.sync(%273, %289, %arg67) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %322 = nvgpu.mma.sync(%273, %290, %arg68) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %323 = nvgpu.mma.sync(%273, %291, %arg69) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %324 = nvgpu.mma.sync(%273, %292, %arg70) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          scf.yield %293, %294, %295, %296, %297, %298, %299, %300, %301, %302, %303, %304, %305, %306, %307, %308, %309, %310, %311, %312, %313, %314, %315, %316, %317, %318, %319, %320, %321, %322, %323, %324 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
        }
        gpu.barrier
        scf.yield %262#0, %262#1, %262#2, %262#3, %262#4, %262#5, %262#6, %262#7, %262#8, %262#9, %262#10, %262#11, %262#12, %262#13, %262#14, %262#15, %262#16, %262#17, %262#18, %262#19, %262#20, %262#21, %262#22, %262#23, %262#24, %262#25, %262#26, %262#27, %262#28, %262#29, %262#30, %262#31 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
      }
      scf.yield %cell#0, %cell#1, %cell#2, %cell#3, %cell#4, %cell#5, %cell#6, %cell#7, %cell#8, %cell#9, %cell#10, %cell#11, %cell#12, %cell#13, %cell#14, %cell#15, %cell#16, %cell#17, %cell#18, %cell#19, %cell#20, %cell#21, %cell#22, %cell#23, %cell#24, %cell#25, %cell#26, %cell#27, %cell#28, %cell#29, %cell#30, %cell#31 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
      }
      scf.yield %row#0, %row#1, %row#2, %row#3, %row#4, %row#5, %row#6, %row#7, %row#8, %row#9, %row#10, %row#11, %row#12, %row#13, %row#14, %row#15, %row#16, %row#17, %row#18, %row#19, %row#20, %row#21, %row#22, %row#23, %row#24, %row#25, %row#26, %row#27, %row#28, %row#29, %row#30, %row#31 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
      }
      %33 = arith.addi %6, %3 : index
      %34 = arith.addi %7, %5 : index
      %c4_22 = arith.constant 4 : index
      %35 = arith.divui %1, %c4_22 : index
      %c4_23 = arith.constant 4 : index
      %36 = arith.remui %1, %c4_23 : index
      %c2_24 = arith.constant 2 : index
      %37 = arith.muli %36, %c2_24 : index
      %38 = arith.addi %33, %35 : index
      %39 = arith.addi %34, %37 : index
      %40 = vector.extract %32#0[0] : vector<2xf32> from vector<2x2xf32>
      vector.store %40, %arg2[%38, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %41 = vector.extract %32#0[1] : vector<2xf32> from vector<2x2xf32>
      %c8_25 = arith.constant 8 : index
      %42 = arith.addi %38, %c8_25 : index
      vector.store %41, %arg2[%42, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %43 = vector.extract %32#1[0] : vector<2xf32> from vector<2x2xf32>
      %c8_26 = arith.constant 8 : index
      %44 = arith.addi %39, %c8_26 : index
      vector.store %43, %arg2[%38, %44] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %45 = vector.extract %32#1[1] : vector<2xf32> from vector<2x2xf32>
      %c8_27 = arith.constant 8 : index
      %46 = arith.addi %38, %c8_27 : index
      %c8_28 = arith.constant 8 : index
      %47 = arith.addi %39, %c8_28 : index
      vector.store %45, %arg2[%46, %47] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %48 = vector.extract %32#2[0] : vector<2xf32> from vector<2x2xf32>
      %c16 = arith.constant 16 : index
      %49 = arith.addi %39, %c16 : index
      vector.store %48, %arg2[%38, %49] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %50 = vector.extract %32#2[1] : vector<2xf32> from vector<2x2xf32>
      %c8_29 = arith.constant 8 : index
      %51 = arith.addi %38, %c8_29 : index
      %c16_30 = arith.constant 16 : index
      %52 = arith.addi %39, %c16_30 : index
      vector.store %50, %arg2[%51, %52] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %53 = vector.extract %32#3[0] : vector<2xf32> from vector<2x2xf32>
      %c24 = arith.constant 24 : index
      %54 = arith.addi %39, %c24 : index
      vector.store %53, %arg2[%38, %54] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %55 = vector.extract %32#3[1] : vector<2xf32> from vector<2x2xf32>
      %c8_31 = arith.constant 8 : index
      %56 = arith.addi %38, %c8_31 : index
      %c24_32 = arith.constant 24 : index
      %57 = arith.addi %39, %c24_32 : index
      vector.store %55, %arg2[%56, %57] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %58 = vector.extract %32#4[0] : vector<2xf32> from vector<2x2xf32>
      %c32_33 = arith.constant 32 : index
      %59 = arith.addi %39, %c32_33 : index
      vector.store %58, %arg2[%38, %59] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %60 = vector.extract %32#4[1] : vector<2xf32> from vector<2x2xf32>
      %c8_34 = arith.constant 8 : index
      %61 = arith.addi %38, %c8_34 : index
      %c32_35 = arith.constant 32 : index
      %62 = arith.addi %39, %c32_35 : index
      vector.store %60, %arg2[%61, %62] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %63 = vector.extract %32#5[0] : vector<2xf32> from vector<2x2xf32>
      %c40 = arith.constant 40 : index
      %64 = arith.addi %39, %c40 : index
      vector.store %63, %arg2[%38, %64] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %65 = vector.extract %32#5[1] : vector<2xf32> from vector<2x2xf32>
      %c8_36 = arith.constant 8 : index
      %66 = arith.addi %38, %c8_36 : index
      %c40_37 = arith.constant 40 : index
      %67 = arith.addi %39, %c40_37 : index
      vector.store %65, %arg2[%66, %67] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %68 = vector.extract %32#6[0] : vector<2xf32> from vector<2x2xf32>
      %c48 = arith.constant 48 : index
      %69 = arith.addi %39, %c48 : index
      vector.store %68, %arg2[%38, %69] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %70 = vector.extract %32#6[1] : vector<2xf32> from vector<2x2xf32>
      %c8_38 = arith.constant 8 : index
      %71 = arith.addi %38, %c8_38 : index
      %c48_39 = arith.constant 48 : index
      %72 = arith.addi %39, %c48_39 : index
      vector.store %70, %arg2[%71, %72] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %73 = vector.extract %32#7[0] : vector<2xf32> from vector<2x2xf32>
      %c56 = arith.constant 56 : index
      %74 = arith.addi %39, %c56 : index
      vector.store %73, %arg2[%38, %74] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %75 = vector.extract %32#7[1] : vector<2xf32> from vector<2x2xf32>
      %c8_40 = arith.constant 8 : index
      %76 = arith.addi %38, %c8_40 : index
      %c56_41 = arith.constant 56 : index
      %77 = arith.addi %39, %c56_41 : index
      vector.store %75, %arg2[%76, %77] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %78 = vector.extract %32#8[0] : vector<2xf32> from vector<2x2xf32>
      %c16_42 = arith.constant 16 : index
      %79 = arith.addi %38, %c16_42 : index
      vector.store %78, %arg2[%79, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %80 = vector.extract %32#8[1] : vector<2xf32> from vector<2x2xf32>
      %c24_43 = arith.constant 24 : index
      %81 = arith.addi %38, %c24_43 : index
      vector.store %80, %arg2[%81, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %82 = vector.extract %32#9[0] : vector<2xf32> from vector<2x2xf32>
      %c16_44 = arith.constant 16 : index
      %83 = arith.addi %38, %c16_44 : index
      %c8_45 = arith.constant 8 : index
      %84 = arith.addi %39, %c8_45 : index
      vector.store %82, %arg2[%83, %84] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %85 = vector.extract %32#9[1] : vector<2xf32> from vector<2x2xf32>
      %c24_46 = arith.constant 24 : index
      %86 = arith.addi %38, %c24_46 : index
      %c8_47 = arith.constant 8 : index
      %87 = arith.addi %39, %c8_47 : index
      vector.store %85, %arg2[%86, %87] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %88 = vector.extract %32#10[0] : vector<2xf32> from vector<2x2xf32>
      %c16_48 = arith.constant 16 : index
      %89 = arith.addi %38, %c16_48 : index
      %c16_49 = arith.constant 16 : index
      %90 = arith.addi %39, %c16_49 : index
      vector.store %88, %arg2[%89, %90] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %91 = vector.extract %32#10[1] : vector<2xf32> from vector<2x2xf32>
      %c24_50 = arith.constant 24 : index
      %92 = arith.addi %38, %c24_50 : index
      %c16_51 = arith.constant 16 : index
      %93 = arith.addi %39, %c16_51 : index
      vector.store %91, %arg2[%92, %93] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %94 = vector.extract %32#11[0] : vector<2xf32> from vector<2x2xf32>
      %c16_52 = arith.constant 16 : index
      %95 = arith.addi %38, %c16_52 : index
      %c24_53 = arith.constant 24 : index
      %96 = arith.addi %39, %c24_53 : index
      vector.store %94, %arg2[%95, %96] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %97 = vector.extract %32#11[1] : vector<2xf32> from vector<2x2xf32>
      %c24_54 = arith.constant 24 : index
      %98 = arith.addi %38, %c24_54 : index
      %c24_55 = arith.constant 24 : index
      %99 = arith.addi %39, %c24_55 : index
      vector.store %97, %arg2[%98, %99] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %100 = vector.extract %32#12[0] : vector<2xf32> from vector<2x2xf32>
      %c16_56 = arith.constant 16 : index
      %101 = arith.addi %38, %c16_56 : index
      %c32_57 = arith.constant 32 : index
      %102 = arith.addi %39, %c32_57 : index
      vector.store %100, %arg2[%101, %102] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %103 = vector.extract %32#12[1] : vector<2xf32> from vector<2x2xf32>
      %c24_58 = arith.constant 24 : index
      %104 = arith.addi %38, %c24_58 : index
      %c32_59 = arith.constant 32 : index
      %105 = arith.addi %39, %c32_59 : index
      vector.store %103, %arg2[%104, %105] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %106 = vector.extract %32#13[0] : vector<2xf32> from vector<2x2xf32>
      %c16_60 = arith.constant 16 : index
      %107 = arith.addi %38, %c16_60 : index
      %c40_61 = arith.constant 40 : index
      %108 = arith.addi %39, %c40_61 : index
      vector.store %106, %arg2[%107, %108] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %109 = vector.extract %32#13[1] : vector<2xf32> from vector<2x2xf32>
      %c24_62 = arith.constant 24 : index
      %110 = arith.addi %38, %c24_62 : index
      %c40_63 = arith.constant 40 : index
      %111 = arith.addi %39, %c40_63 : index
      vector.store %109, %arg2[%110, %111] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %112 = vector.extract %32#14[0] : vector<2xf32> from vector<2x2xf32>
      %c16_64 = arith.constant 16 : index
      %113 = arith.addi %38, %c16_64 : index
      %c48_65 = arith.constant 48 : index
      %114 = arith.addi %39, %c48_65 : index
      vector.store %112, %arg2[%113, %114] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %115 = vector.extract %32#14[1] : vector<2xf32> from vector<2x2xf32>
      %c24_66 = arith.constant 24 : index
      %116 = arith.addi %38, %c24_66 : index
      %c48_67 = arith.constant 48 : index
      %117 = arith.addi %39, %c48_67 : index
      vector.store %115, %arg2[%116, %117] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %118 = vector.extract %32#15[0] : vector<2xf32> from vector<2x2xf32>
      %c16_68 = arith.constant 16 : index
      %119 = arith.addi %38, %c16_68 : index
      %c56_69 = arith.constant 56 : index
      %120 = arith.addi %39, %c56_69 : index
      vector.store %118, %arg2[%119, %120] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %121 = vector.extract %32#15[1] : vector<2xf32> from vector<2x2xf32>
      %c24_70 = arith.constant 24 : index
      %122 = arith.addi %38, %c24_70 : index
      %c56_71 = arith.constant 56 : index
      %123 = arith.addi %39, %c56_71 : index
      vector.store %121, %arg2[%122, %123] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %124 = vector.extract %32#16[0] : vector<2xf32> from vector<2x2xf32>
      %c32_72 = arith.constant 32 : index
      %125 = arith.addi %38, %c32_72 : index
      vector.store %124, %arg2[%125, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %126 = vector.extract %32#16[1] : vector<2xf32> from vector<2x2xf32>
      %c40_73 = arith.constant 40 : index
      %127 = arith.addi %38, %c40_73 : index
      vector.store %126, %arg2[%127, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %128 = vector.extract %32#17[0] : vector<2xf32> from vector<2x2xf32>
      %c32_74 = arith.constant 32 : index
      %129 = arith.addi %38, %c32_74 : index
      %c8_75 = arith.constant 8 : index
      %130 = arith.addi %39, %c8_75 : index
      vector.store %128, %arg2[%129, %130] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %131 = vector.extract %32#17[1] : vector<2xf32> from vector<2x2xf32>
      %c40_76 = arith.constant 40 : index
      %132 = arith.addi %38, %c40_76 : index
      %c8_77 = arith.constant 8 : index
      %133 = arith.addi %39, %c8_77 : index
      vector.store %131, %arg2[%132, %133] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %134 = vector.extract %32#18[0] : vector<2xf32> from vector<2x2xf32>
      %c32_78 = arith.constant 32 : index
      %135 = arith.addi %38, %c32_78 : index
      %c16_79 = arith.constant 16 : index
      %136 = arith.addi %39, %c16_79 : index
      vector.store %134, %arg2[%135, %136] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %137 = vector.extract %32#18[1] : vector<2xf32> from vector<2x2xf32>
      %c40_80 = arith.constant 40 : index
      %138 = arith.addi %38, %c40_80 : index
      %c16_81 = arith.constant 16 : index
      %139 = arith.addi %39, %c16_81 : index
      vector.store %137, %arg2[%138, %139] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %140 = vector.extract %32#19[0] : vector<2xf32> from vector<2x2xf32>
      %c32_82 = arith.constant 32 : index
      %141 = arith.addi %38, %c32_82 : index
      %c24_83 = arith.constant 24 : index
      %142 = arith.addi %39, %c24_83 : index
      vector.store %140, %arg2[%141, %142] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %143 = vector.extract %32#19[1] : vector<2xf32> from vector<2x2xf32>
      %c40_84 = arith.constant 40 : index
      %144 = arith.addi %38, %c40_84 : index
      %c24_85 = arith.constant 24 : index
      %145 = arith.addi %39, %c24_85 : index
      vector.store %143, %arg2[%144, %145] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %146 = vector.extract %32#20[0] : vector<2xf32> from vector<2x2xf32>
      %c32_86 = arith.constant 32 : index
      %147 = arith.addi %38, %c32_86 : index
      %c32_87 = arith.constant 32 : index
      %148 = arith.addi %39, %c32_87 : index
      vector.store %146, %arg2[%147, %148] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %149 = vector.extract %32#20[1] : vector<2xf32> from vector<2x2xf32>
      %c40_88 = arith.constant 40 : index
      %150 = arith.addi %38, %c40_88 : index
      %c32_89 = arith.constant 32 : index
      %151 = arith.addi %39, %c32_89 : index
      vector.store %149, %arg2[%150, %151] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %152 = vector.extract %32#21[0] : vector<2xf32> from vector<2x2xf32>
      %c32_90 = arith.constant 32 : index
      %153 = arith.addi %38, %c32_90 : index
      %c40_91 = arith.constant 40 : index
      %154 = arith.addi %39, %c40_91 : index
      vector.store %152, %arg2[%153, %154] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %155 = vector.extract %32#21[1] : vector<2xf32> from vector<2x2xf32>
      %c40_92 = arith.constant 40 : index
      %156 = arith.addi %38, %c40_92 : index
      %c40_93 = arith.constant 40 : index
      %157 = arith.addi %39, %c40_93 : index
      vector.store %155, %arg2[%156, %157] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %158 = vector.extract %32#22[0] : vector<2xf32> from vector<2x2xf32>
      %c32_94 = arith.constant 32 : index
      %159 = arith.addi %38, %c32_94 : index
      %c48_95 = arith.constant 48 : index
      %160 = arith.addi %39, %c48_95 : index
      vector.store %158, %arg2[%159, %160] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %161 = vector.extract %32#22[1] : vector<2xf32> from vector<2x2xf32>
      %c40_96 = arith.constant 40 : index
      %162 = arith.addi %38, %c40_96 : index
      %c48_97 = arith.constant 48 : index
      %163 = arith.addi %39, %c48_97 : index
      vector.store %161, %arg2[%162, %163] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %164 = vector.extract %32#23[0] : vector<2xf32> from vector<2x2xf32>
      %c32_98 = arith.constant 32 : index
      %165 = arith.addi %38, %c32_98 : index
      %c56_99 = arith.constant 56 : index
      %166 = arith.addi %39, %c56_99 : index
      vector.store %164, %arg2[%165, %166] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %167 = vector.extract %32#23[1] : vector<2xf32> from vector<2x2xf32>
      %c40_100 = arith.constant 40 : index
      %168 = arith.addi %38, %c40_100 : index
      %c56_101 = arith.constant 56 : index
      %169 = arith.addi %39, %c56_101 : index
      vector.store %167, %arg2[%168, %169] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %170 = vector.extract %32#24[0] : vector<2xf32> from vector<2x2xf32>
      %c48_102 = arith.constant 48 : index
      %171 = arith.addi %38, %c48_102 : index
      vector.store %170, %arg2[%171, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %172 = vector.extract %32#24[1] : vector<2xf32> from vector<2x2xf32>
      %c56_103 = arith.constant 56 : index
      %173 = arith.addi %38, %c56_103 : index
      vector.store %172, %arg2[%173, %39] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %174 = vector.extract %32#25[0] : vector<2xf32> from vector<2x2xf32>
      %c48_104 = arith.constant 48 : index
      %175 = arith.addi %38, %c48_104 : index
      %c8_105 = arith.constant 8 : index
      %176 = arith.addi %39, %c8_105 : index
      vector.store %174, %arg2[%175, %176] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %177 = vector.extract %32#25[1] : vector<2xf32> from vector<2x2xf32>
      %c56_106 = arith.constant 56 : index
      %178 = arith.addi %38, %c56_106 : index
      %c8_107 = arith.constant 8 : index
      %179 = arith.addi %39, %c8_107 : index
      vector.store %177, %arg2[%178, %179] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %180 = vector.extract %32#26[0] : vector<2xf32> from vector<2x2xf32>
      %c48_108 = arith.constant 48 : index
      %181 = arith.addi %38, %c48_108 : index
      %c16_109 = arith.constant 16 : index
      %182 = arith.addi %39, %c16_109 : index
      vector.store %180, %arg2[%181, %182] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %183 = vector.extract %32#26[1] : vector<2xf32> from vector<2x2xf32>
      %c56_110 = arith.constant 56 : index
      %184 = arith.addi %38, %c56_110 : index
      %c16_111 = arith.constant 16 : index
      %185 = arith.addi %39, %c16_111 : index
      vector.store %183, %arg2[%184, %185] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %186 = vector.extract %32#27[0] : vector<2xf32> from vector<2x2xf32>
      %c48_112 = arith.constant 48 : index
      %187 = arith.addi %38, %c48_112 : index
      %c24_113 = arith.constant 24 : index
      %188 = arith.addi %39, %c24_113 : index
      vector.store %186, %arg2[%187, %188] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %189 = vector.extract %32#27[1] : vector<2xf32> from vector<2x2xf32>
      %c56_114 = arith.constant 56 : index
      %190 = arith.addi %38, %c56_114 : index
      %c24_115 = arith.constant 24 : index
      %191 = arith.addi %39, %c24_115 : index
      vector.store %189, %arg2[%190, %191] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %192 = vector.extract %32#28[0] : vector<2xf32> from vector<2x2xf32>
      %c48_116 = arith.constant 48 : index
      %193 = arith.addi %38, %c48_116 : index
      %c32_117 = arith.constant 32 : index
      %194 = arith.addi %39, %c32_117 : index
      vector.store %192, %arg2[%193, %194] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %195 = vector.extract %32#28[1] : vector<2xf32> from vector<2x2xf32>
      %c56_118 = arith.constant 56 : index
      %196 = arith.addi %38, %c56_118 : index
      %c32_119 = arith.constant 32 : index
      %197 = arith.addi %39, %c32_119 : index
      vector.store %195, %arg2[%196, %197] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %198 = vector.extract %32#29[0] : vector<2xf32> from vector<2x2xf32>
      %c48_120 = arith.constant 48 : index
      %199 = arith.addi %38, %c48_120 : index
      %c40_121 = arith.constant 40 : index
      %200 = arith.addi %39, %c40_121 : index
      vector.store %198, %arg2[%199, %200] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %201 = vector.extract %32#29[1] : vector<2xf32> from vector<2x2xf32>
      %c56_122 = arith.constant 56 : index
      %202 = arith.addi %38, %c56_122 : index
      %c40_123 = arith.constant 40 : index
      %203 = arith.addi %39, %c40_123 : index
      vector.store %201, %arg2[%202, %203] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %204 = vector.extract %32#30[0] : vector<2xf32> from vector<2x2xf32>
      %c48_124 = arith.constant 48 : index
      %205 = arith.addi %38, %c48_124 : index
      %c48_125 = arith.constant 48 : index
      %206 = arith.addi %39, %c48_125 : index
      vector.store %204, %arg2[%205, %206] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %207 = vector.extract %32#30[1] : vector<2xf32> from vector<2x2xf32>
      %c56_126 = arith.constant 56 : index
      %208 = arith.addi %38, %c56_126 : index
      %c48_127 = arith.constant 48 : index
      %209 = arith.addi %39, %c48_127 : index
      vector.store %207, %arg2[%208, %209] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %210 = vector.extract %32#31[0] : vector<2xf32> from vector<2x2xf32>
      %c48_128 = arith.constant 48 : index
      %211 = arith.addi %38, %c48_128 : index
      %c56_129 = arith.constant 56 : index
      %212 = arith.addi %39, %c56_129 : index
      vector.store %210, %arg2[%211, %212] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      %213 = vector.extract %32#31[1] : vector<2xf32> from vector<2x2xf32>
      %c56_130 = arith.constant 56 : index
      %214 = arith.addi %38, %c56_130 : index
      %c56_131 = arith.constant 56 : index
      %215 = arith.addi %39, %c56_131 : index
      vector.store %213, %arg2[%214, %215] {alignment = 8 : i64} : memref<64x64xf32>, vector<2xf32>
      gpu.return
    }
  }
}
