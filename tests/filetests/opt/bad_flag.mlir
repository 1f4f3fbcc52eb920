// RUN(2) alcop opt %s --no-such-pass 2>&1 | FileCheck %s
// CHECK: 'no-such-pass' does not refer to a registered pass or pass pipeline
