// RUN(2) alcop opt %s --alcop-plan=stages=3 2>&1 | FileCheck %s
// CHECK: alcop-plan: no option "stages"; known: shared-stages, register-stages, layout, block-size, assume-aligned, assume-noalias
