// RUN(1) alcop opt %s --alcop-waits 2>&1 | FileCheck %s --check-prefix=WAITS
// RUN(1) alcop opt %s --pass-pipeline='builtin.module(alcop-multi-buffer)' 2>&1 | FileCheck %s --check-prefix=RING
// RUN(1) alcop opt %s --alcop-swizzle 2>&1 | FileCheck %s --check-prefix=SWIZZLE
// WAITS: alcop-waits cannot run by itself: alcop-expand places the waits {{.*}} [not-separable]
// RING: alcop-multi-buffer cannot run by itself: {{.*}} [not-separable]
// SWIZZLE: alcop-swizzle cannot run by itself: {{.*}} [not-separable]
