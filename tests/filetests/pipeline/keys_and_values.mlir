// Two chained products over one stream: keys are read before values, and each is waited for where it is first read.
// PLAN loop 0 waits 2
gpu.module @m {
  gpu.func @keys_and_values(%keys: memref<64x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %values: memref<64x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %queries: memref<32x32xf32> {llvm.noalias, llvm.align = 16 : i64},
                            %out: memref<32x32xf32> {llvm.noalias, llvm.align = 16 : i64})
      kernel attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %zero = arith.constant 0.0 : f32
    %zeros = arith.constant dense<0.0> : vector<4xf32>
    %t = gpu.thread_id x
    %r = arith.divui %t, %c8 : index
    %q = arith.remui %t, %c8 : index
    %column = arith.muli %q, %c4 : index
    %k = memref.alloc() : memref<4x32xf32, #gpu.address_space<workgroup>>
    %v = memref.alloc() : memref<4x32xf32, #gpu.address_space<workgroup>>
    %o = scf.for %i = %c0 to %c64 step %c4 iter_args(%acc = %zeros) -> (vector<4xf32>) {
      %row = arith.addi %i, %r : index
      %kv = vector.load %keys[%row, %column] : memref<64x32xf32>, vector<4xf32>
      vector.store %kv, %k[%r, %column] : memref<4x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      %vv = vector.load %values[%row, %column] : memref<64x32xf32>, vector<4xf32>
      vector.store %vv, %v[%r, %column] : memref<4x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
      gpu.barrier
      %s:2 = scf.for %j = %c0 to %c4 step %c1 iter_args(%most = %zero, %sum = %zero) -> (f32, f32) {
        %a = memref.load %queries[%t, %j] : memref<32x32xf32>
        %b = memref.load %k[%j, %t] : memref<4x32xf32, #gpu.address_space<workgroup>>
        %p = arith.mulf %a, %b : f32
        %m = arith.maximumf %most, %p : f32
        %n = arith.addf %sum, %p : f32
        scf.yield %m, %n : f32, f32
      }
      %scale = arith.addf %s#0, %s#1 : f32
      %scales = vector.broadcast %scale : f32 to vector<4xf32>
      %next = scf.for %j = %c0 to %c4 step %c1 iter_args(%sum = %acc) -> (vector<4xf32>) {
        %b = vector.load %v[%j, %column] : memref<4x32xf32, #gpu.address_space<workgroup>>, vector<4xf32>
        %p = arith.mulf %scales, %b : vector<4xf32>
        %n = arith.addf %sum, %p : vector<4xf32>
        scf.yield %n : vector<4xf32>
      }
      gpu.barrier
      scf.yield %next : vector<4xf32>
    }
    vector.store %o, %out[%t, %c0] {alignment = 16 : i64} : memref<32x32xf32>, vector<4xf32>
    gpu.return
  }
}
