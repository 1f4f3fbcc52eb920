// RUN(2) alcop opt %s --cse --pass-pipeline='builtin.module(cse)' 2>&1 | FileCheck %s
// CHECK: --cse: passes as options and --pass-pipeline exclude each other
