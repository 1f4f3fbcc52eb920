// RUN(2) alcop opt %s --alcop-pipelin 2>&1 | FileCheck %s
// CHECK: there is no pass alcop-pipelin; ours are alcop-detect,
