// Arguments are aligned, and accesses do not say so.
gpu.module @m { gpu.func @k(%in: memref<320x8xf16> {llvm.noalias, llvm.align = 16 : i64}, %out: memref<32x8xf16> {llvm.noalias, llvm.align = 16 : i64}) kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c32 = arith.constant 32 : index
    %c320 = arith.constant 320 : index
    %c31 = arith.constant 31 : index
    %z = arith.constant dense<0.0> : vector<8xf16>
    %t = gpu.thread_id x
    %m = arith.subi %c31, %t : index
    %s = memref.alloc() : memref<32x8xf16, #gpu.address_space<workgroup>>
    %r = scf.for %i = %c0 to %c320 step %c32 iter_args(%a = %z) -> (vector<8xf16>) {
    %row = arith.addi %i, %t : index
    %v = vector.load %in[%row, %c0] : memref<320x8xf16>, vector<8xf16>
    vector.store %v, %s[%t, %c0] : memref<32x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
    gpu.barrier
    %x = vector.load %s[%m, %c0] : memref<32x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
    %b = arith.addf %a, %x : vector<8xf16>
    gpu.barrier
    scf.yield %b : vector<8xf16>
    }
    vector.store %r, %out[%t, %c0] : memref<32x8xf16>, vector<8xf16>
    gpu.return } }
