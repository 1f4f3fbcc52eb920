// RUN(2) alcop opt %s --cse --target=sm_9999 2>&1 | FileCheck %s
// CHECK: sm_9999
