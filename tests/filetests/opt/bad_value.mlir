// RUN(2) alcop opt %s --alcop-plan=shared-stages=many 2>&1 | FileCheck %s
// CHECK: alcop-plan: option shared-stages: "many" is not a number of stages
