// An operation that nobody knows may fill the buffer: the loop's reason names it.
// RUN alcop opt %s --alcop-detect --allow-unregistered-dialect --verify-diagnostics
gpu.module @m {
  gpu.func @k(%src: memref<32x4xf32>) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 8 : index
    // expected-remark @+1 {{nothing that is understood as a copy fills the buffer [not-a-pure-copy]}}
    %s = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
    // expected-remark @+1 {{loop 0: not pipelined [not-a-pure-copy, unknown-op]}}
    scf.for %i = %c0 to %c8 step %c1 {
      // expected-remark @+1 {{their.copy uses the buffer in a way that is not understood [unknown-op]}}
      "their.copy"(%src, %s) : (memref<32x4xf32>, memref<32x4xf32, #gpu.address_space<workgroup>>) -> ()
      gpu.barrier
      // expected-remark @+1 {{their.use uses the buffer in a way that is not understood [unknown-op]}}
      "their.use"(%s) : (memref<32x4xf32, #gpu.address_space<workgroup>>) -> ()
      gpu.barrier
    }
    gpu.return
  }
}
