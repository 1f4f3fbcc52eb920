// Layouts that are none, of what is no memref, and of rows that cannot be permuted.
// RUN(1) alcop opt %s --split-input-file --alcop-swizzle 2>&1 | FileCheck %s
// CHECK: error: alcop.layout is "xor" or not there, not Some("rows") [layout-malformed]
// CHECK: error: arith.constant makes no memref whose rows could be laid out [layout-malformed]
// CHECK: error: rows of 48 bytes cannot be swizzled
gpu.module @m {
  gpu.func @k() kernel {
    %s = memref.alloc() {alcop.layout = "rows"} : memref<32x16xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}
// -----
gpu.module @m {
  gpu.func @k() kernel {
    %s = arith.constant {alcop.layout = "xor"} 0 : index
    gpu.return
  }
}
// -----
gpu.module @m {
  gpu.func @k() kernel {
    %s = memref.alloc() {alcop.layout = "xor"} : memref<32x12xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}
