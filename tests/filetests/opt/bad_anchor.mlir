// RUN(2) alcop opt %s --pass-pipeline='builtin.module(gpu.module(alcop-detect))' 2>&1 | FileCheck %s
// CHECK: can't run 'alcop-detect' on 'gpu.module'
