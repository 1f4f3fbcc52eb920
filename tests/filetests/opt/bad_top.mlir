// RUN(2) alcop opt %s --pass-pipeline='gpu.module(cse)' 2>&1 | FileCheck %s
// CHECK: write builtin.module(gpu.module(…))
