// RUN(2) alcop opt %s --pass-pipeline='builtin.module(cse' 2>&1 | FileCheck %s
// CHECK: pass pipeline, column 15: nothing closes this parenthesis
