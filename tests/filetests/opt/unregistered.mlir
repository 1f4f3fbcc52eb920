// RUN alcop opt %s --allow-unregistered-dialect | FileCheck %s
// RUN(2) alcop opt %s 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// CHECK: "tile.wish"()
// UNKNOWN: unregistered.mlir:[[#@LINE+1]]:12: error: operation being parsed with an unregistered dialect
"tile.wish"() : () -> ()
