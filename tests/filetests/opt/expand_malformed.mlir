// RUN(1) alcop opt %s --alcop-expand 2>&1 | FileCheck %s
// CHECK: error: alcop.plan is no plan: {{.*}}unknown field `depth`
module attributes {alcop.plan = {depth = 3 : i64}} {
}
