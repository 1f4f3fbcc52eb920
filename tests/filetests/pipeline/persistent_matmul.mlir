// A matmul whose block computes three tiles one after the other: the copies and fragments of the next tile's first
// chunk are loaded before this tile is stored.
// PLAN loop 1 around 0
module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @matmul(%arg0: memref<32x64xf16> {llvm.align = 16 : i64, llvm.noalias}, %arg1: memref<96x64xf16> {llvm.align = 16 : i64, llvm.noalias}, %arg2: memref<32x96xf32> {llvm.align = 16 : i64, llvm.noalias}) workgroup(%arg3 : memref<32x32xf16, #gpu.address_space<workgroup>>, %arg4 : memref<32x32xf16, #gpu.address_space<workgroup>>) kernel attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
      %thread_id_x = gpu.thread_id  x
      %c32 = arith.constant 32 : index
      %0 = arith.divui %thread_id_x, %c32 : index
      %c32_0 = arith.constant 32 : index
      %1 = arith.remui %thread_id_x, %c32_0 : index
      %c1 = arith.constant 1 : index
      %2 = arith.remui %0, %c1 : index
      %c32_1 = arith.constant 32 : index
      %3 = arith.muli %2, %c32_1 : index
      %c1_2 = arith.constant 1 : index
      %4 = arith.divui %0, %c1_2 : index
      %c32_3 = arith.constant 32 : index
      %5 = arith.muli %4, %c32_3 : index
      %block_id_x = arith.constant 0 : index
      %c32_4 = arith.constant 32 : index
      %6 = arith.muli %block_id_x, %c32_4 : index
      %first = arith.constant 0 : index
      %one = arith.constant 1 : index
      %three = arith.constant 3 : index
      scf.for %block_id_y = %first to %three step %one {
      %c32_5 = arith.constant 32 : index
      %7 = arith.muli %block_id_y, %c32_5 : index
      %c4 = arith.constant 4 : index
      %8 = arith.divui %thread_id_x, %c4 : index
      %c4_6 = arith.constant 4 : index
      %9 = arith.remui %thread_id_x, %c4_6 : index
      %c8 = arith.constant 8 : index
      %10 = arith.muli %9, %c8 : index
      %11 = arith.addi %6, %8 : index
      %c4_7 = arith.constant 4 : index
      %12 = arith.divui %thread_id_x, %c4_7 : index
      %c4_8 = arith.constant 4 : index
      %13 = arith.remui %thread_id_x, %c4_8 : index
      %c8_9 = arith.constant 8 : index
      %14 = arith.muli %13, %c8_9 : index
      %15 = arith.addi %7, %12 : index
      %c8_10 = arith.constant 8 : index
      %16 = arith.remui %1, %c8_10 : index
      %c8_11 = arith.constant 8 : index
      %17 = arith.divui %1, %c8_11 : index
      %c2 = arith.constant 2 : index
      %18 = arith.remui %17, %c2 : index
      %c8_12 = arith.constant 8 : index
      %19 = arith.muli %18, %c8_12 : index
      %c2_13 = arith.constant 2 : index
      %20 = arith.divui %17, %c2_13 : index
      %c8_14 = arith.constant 8 : index
      %21 = arith.muli %20, %c8_14 : index
      %22 = arith.addi %16, %19 : index
      %23 = arith.addi %3, %22 : index
      %c8_15 = arith.constant 8 : index
      %24 = arith.remui %1, %c8_15 : index
      %c8_16 = arith.constant 8 : index
      %25 = arith.divui %1, %c8_16 : index
      %c2_17 = arith.constant 2 : index
      %26 = arith.remui %25, %c2_17 : index
      %c8_18 = arith.constant 8 : index
      %27 = arith.muli %26, %c8_18 : index
      %c2_19 = arith.constant 2 : index
      %28 = arith.divui %25, %c2_19 : index
      %c8_20 = arith.constant 8 : index
      %29 = arith.muli %28, %c8_20 : index
      %30 = arith.addi %24, %29 : index
      %31 = arith.addi %5, %30 : index
      %cst = arith.constant dense<0.000000e+00> : vector<2x2xf32>
      %c0 = arith.constant 0 : index
      %c64 = arith.constant 64 : index
      %c32_21 = arith.constant 32 : index
      %32:8 = scf.for %arg5 = %c0 to %c64 step %c32_21 iter_args(%arg6 = %cst, %arg7 = %cst, %arg8 = %cst, %arg9 = %cst, %arg10 = %cst, %arg11 = %cst, %arg12 = %cst, %arg13 = %cst) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
        %80 = arith.addi %10, %arg5 : index
        %81 = vector.load %arg0[%11, %80] {alignment = 16 : i64} : memref<32x64xf16>, vector<8xf16>
        %c8_47 = arith.constant 8 : index
        %82 = arith.addi %11, %c8_47 : index
        %83 = vector.load %arg0[%82, %80] {alignment = 16 : i64} : memref<32x64xf16>, vector<8xf16>
        %c16_48 = arith.constant 16 : index
        %84 = arith.addi %11, %c16_48 : index
        %85 = vector.load %arg0[%84, %80] {alignment = 16 : i64} : memref<32x64xf16>, vector<8xf16>
        %c24_49 = arith.constant 24 : index
        %86 = arith.addi %11, %c24_49 : index
        %87 = vector.load %arg0[%86, %80] {alignment = 16 : i64} : memref<32x64xf16>, vector<8xf16>
        %88 = arith.addi %14, %arg5 : index
        %89 = vector.load %arg1[%15, %88] {alignment = 16 : i64} : memref<96x64xf16>, vector<8xf16>
        %c8_50 = arith.constant 8 : index
        %90 = arith.addi %15, %c8_50 : index
        %91 = vector.load %arg1[%90, %88] {alignment = 16 : i64} : memref<96x64xf16>, vector<8xf16>
        %c16_51 = arith.constant 16 : index
        %92 = arith.addi %15, %c16_51 : index
        %93 = vector.load %arg1[%92, %88] {alignment = 16 : i64} : memref<96x64xf16>, vector<8xf16>
        %c24_52 = arith.constant 24 : index
        %94 = arith.addi %15, %c24_52 : index
        %95 = vector.load %arg1[%94, %88] {alignment = 16 : i64} : memref<96x64xf16>, vector<8xf16>
        vector.store %81, %arg3[%8, %10] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c8_53 = arith.constant 8 : index
        %96 = arith.addi %8, %c8_53 : index
        vector.store %83, %arg3[%96, %10] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c16_54 = arith.constant 16 : index
        %97 = arith.addi %8, %c16_54 : index
        vector.store %85, %arg3[%97, %10] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c24_55 = arith.constant 24 : index
        %98 = arith.addi %8, %c24_55 : index
        vector.store %87, %arg3[%98, %10] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        vector.store %89, %arg4[%12, %14] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c8_56 = arith.constant 8 : index
        %99 = arith.addi %12, %c8_56 : index
        vector.store %91, %arg4[%99, %14] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c16_57 = arith.constant 16 : index
        %100 = arith.addi %12, %c16_57 : index
        vector.store %93, %arg4[%100, %14] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %c24_58 = arith.constant 24 : index
        %101 = arith.addi %12, %c24_58 : index
        vector.store %95, %arg4[%101, %14] {alignment = 16 : i64} : memref<32x32xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        gpu.barrier
        %c0_59 = arith.constant 0 : index
        %c32_60 = arith.constant 32 : index
        %c16_61 = arith.constant 16 : index
        %102:8 = scf.for %arg14 = %c0_59 to %c32_60 step %c16_61 iter_args(%arg15 = %arg6, %arg16 = %arg7, %arg17 = %arg8, %arg18 = %arg9, %arg19 = %arg10, %arg20 = %arg11, %arg21 = %arg12, %arg22 = %arg13) -> (vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>) {
          %103 = arith.addi %21, %arg14 : index
          %104 = nvgpu.ldmatrix %arg3[%23, %103] {numTiles = 4 : i32, transpose = false} : memref<32x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c16_62 = arith.constant 16 : index
          %105 = arith.addi %23, %c16_62 : index
          %106 = arith.addi %21, %arg14 : index
          %107 = nvgpu.ldmatrix %arg3[%105, %106] {numTiles = 4 : i32, transpose = false} : memref<32x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %108 = arith.addi %27, %arg14 : index
          %109 = nvgpu.ldmatrix %arg4[%31, %108] {numTiles = 4 : i32, transpose = false} : memref<32x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %c16_63 = arith.constant 16 : index
          %110 = arith.addi %31, %c16_63 : index
          %111 = arith.addi %27, %arg14 : index
          %112 = nvgpu.ldmatrix %arg4[%110, %111] {numTiles = 4 : i32, transpose = false} : memref<32x32xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
          %113 = vector.extract_strided_slice %109 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %114 = vector.extract_strided_slice %109 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %115 = vector.extract_strided_slice %112 {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %116 = vector.extract_strided_slice %112 {offsets = [2], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
          %117 = nvgpu.mma.sync(%104, %113, %arg15) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %118 = nvgpu.mma.sync(%104, %114, %arg16) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %119 = nvgpu.mma.sync(%104, %115, %arg17) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %120 = nvgpu.mma.sync(%104, %116, %arg18) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %121 = nvgpu.mma.sync(%107, %113, %arg19) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %122 = nvgpu.mma.sync(%107, %114, %arg20) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %123 = nvgpu.mma.sync(%107, %115, %arg21) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          %124 = nvgpu.mma.sync(%107, %116, %arg22) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
          scf.yield %117, %118, %119, %120, %121, %122, %123, %124 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
        }
        gpu.barrier
        scf.yield %102#0, %102#1, %102#2, %102#3, %102#4, %102#5, %102#6, %102#7 : vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>, vector<2x2xf32>
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
      vector.store %40, %arg2[%38, %39] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %41 = vector.extract %32#0[1] : vector<2xf32> from vector<2x2xf32>
      %c8_25 = arith.constant 8 : index
      %42 = arith.addi %38, %c8_25 : index
      vector.store %41, %arg2[%42, %39] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %43 = vector.extract %32#1[0] : vector<2xf32> from vector<2x2xf32>
      %c8_26 = arith.constant 8 : index
      %44 = arith.addi %39, %c8_26 : index
      vector.store %43, %arg2[%38, %44] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %45 = vector.extract %32#1[1] : vector<2xf32> from vector<2x2xf32>
      %c8_27 = arith.constant 8 : index
      %46 = arith.addi %38, %c8_27 : index
      %c8_28 = arith.constant 8 : index
      %47 = arith.addi %39, %c8_28 : index
      vector.store %45, %arg2[%46, %47] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %48 = vector.extract %32#2[0] : vector<2xf32> from vector<2x2xf32>
      %c16 = arith.constant 16 : index
      %49 = arith.addi %39, %c16 : index
      vector.store %48, %arg2[%38, %49] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %50 = vector.extract %32#2[1] : vector<2xf32> from vector<2x2xf32>
      %c8_29 = arith.constant 8 : index
      %51 = arith.addi %38, %c8_29 : index
      %c16_30 = arith.constant 16 : index
      %52 = arith.addi %39, %c16_30 : index
      vector.store %50, %arg2[%51, %52] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %53 = vector.extract %32#3[0] : vector<2xf32> from vector<2x2xf32>
      %c24 = arith.constant 24 : index
      %54 = arith.addi %39, %c24 : index
      vector.store %53, %arg2[%38, %54] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %55 = vector.extract %32#3[1] : vector<2xf32> from vector<2x2xf32>
      %c8_31 = arith.constant 8 : index
      %56 = arith.addi %38, %c8_31 : index
      %c24_32 = arith.constant 24 : index
      %57 = arith.addi %39, %c24_32 : index
      vector.store %55, %arg2[%56, %57] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %58 = vector.extract %32#4[0] : vector<2xf32> from vector<2x2xf32>
      %c16_33 = arith.constant 16 : index
      %59 = arith.addi %38, %c16_33 : index
      vector.store %58, %arg2[%59, %39] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %60 = vector.extract %32#4[1] : vector<2xf32> from vector<2x2xf32>
      %c24_34 = arith.constant 24 : index
      %61 = arith.addi %38, %c24_34 : index
      vector.store %60, %arg2[%61, %39] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %62 = vector.extract %32#5[0] : vector<2xf32> from vector<2x2xf32>
      %c16_35 = arith.constant 16 : index
      %63 = arith.addi %38, %c16_35 : index
      %c8_36 = arith.constant 8 : index
      %64 = arith.addi %39, %c8_36 : index
      vector.store %62, %arg2[%63, %64] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %65 = vector.extract %32#5[1] : vector<2xf32> from vector<2x2xf32>
      %c24_37 = arith.constant 24 : index
      %66 = arith.addi %38, %c24_37 : index
      %c8_38 = arith.constant 8 : index
      %67 = arith.addi %39, %c8_38 : index
      vector.store %65, %arg2[%66, %67] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %68 = vector.extract %32#6[0] : vector<2xf32> from vector<2x2xf32>
      %c16_39 = arith.constant 16 : index
      %69 = arith.addi %38, %c16_39 : index
      %c16_40 = arith.constant 16 : index
      %70 = arith.addi %39, %c16_40 : index
      vector.store %68, %arg2[%69, %70] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %71 = vector.extract %32#6[1] : vector<2xf32> from vector<2x2xf32>
      %c24_41 = arith.constant 24 : index
      %72 = arith.addi %38, %c24_41 : index
      %c16_42 = arith.constant 16 : index
      %73 = arith.addi %39, %c16_42 : index
      vector.store %71, %arg2[%72, %73] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %74 = vector.extract %32#7[0] : vector<2xf32> from vector<2x2xf32>
      %c16_43 = arith.constant 16 : index
      %75 = arith.addi %38, %c16_43 : index
      %c24_44 = arith.constant 24 : index
      %76 = arith.addi %39, %c24_44 : index
      vector.store %74, %arg2[%75, %76] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      %77 = vector.extract %32#7[1] : vector<2xf32> from vector<2x2xf32>
      %c24_45 = arith.constant 24 : index
      %78 = arith.addi %38, %c24_45 : index
      %c24_46 = arith.constant 24 : index
      %79 = arith.addi %39, %c24_46 : index
      vector.store %77, %arg2[%78, %79] {alignment = 8 : i64} : memref<32x96xf32>, vector<2xf32>
      }
      gpu.return
    }
  }
}
