// A wait that no loop knows, and a loop whose positions are none.
// RUN(1) alcop opt %s --split-input-file --alcop-waits 2>&1 | FileCheck %s
// CHECK: error: {{.*}}does not say when to wait: no loop has a wait there; run alcop-expand again
// CHECK: error: {{.*}}does not say when to wait: unknown field `depth`
gpu.module @m {
  gpu.func @k() kernel {
    nvvm.cp.async.wait.group 0 {alcop.wait = {event = 0 : i64, loop = 0 : i64}}
    gpu.return
  }
}
// -----
gpu.module @m {
  gpu.func @k() kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    scf.for %i = %c0 to %c1 step %c1 {
    } {alcop.positions = {buffers = [], depth = 2 : i64, length = 1 : i64, loop = 0 : i64}}
    gpu.return
  }
}
