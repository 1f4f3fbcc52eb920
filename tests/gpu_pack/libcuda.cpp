// A CUDA driver that has no GPU: memory is the host's, and a launch writes its parameter 1 (32 bits) to where its parameter
// 0 points, as often as there are blocks. For the test of scripts/gpu-pack/driver.py: it checks what it is given as the
// driver would. PTX with the word `broken` does not compile, and the kernel `faulty` leaves an illegal access behind.
//
//   c++ -shared -fPIC -o libcuda.so libcuda.cpp; GPU_PACK_LIBCUDA=./libcuda.so
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {
constexpr int kInvalid = 1, kPtx = 218, kMissing = 500, kIllegal = 700;
int context, stream, sticky;
std::set<uint64_t> allocated;
struct Module { std::string ptx; };
struct Function { std::string name; int dynamic_shared = 0; };
struct Event { bool recorded = false; };
}  // namespace

extern "C" {
int cuInit(unsigned flags) { return flags ? kInvalid : 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = std::getenv("NO_GPU") ? 0 : 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal ? kInvalid : 0; }
int cuDeviceGetName(char *name, int length, int device) {
    if (device != 7 || length < 32) return kInvalid;
    std::strcpy(name, "NVIDIA A100-SXM4-80GB");
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device != 7) return kInvalid;
    switch (attribute) {
        case 16: *value = 108; return 0;
        case 38: *value = 41943040; return 0;
        case 75: *value = 8; return 0;
        case 76: *value = 0; return 0;
        case 97: *value = 166912; return 0;
        case 13: *value = 1410000; return 0;
        default: return kInvalid;
    }
}
int cuDevicePrimaryCtxRetain(void **out, int device) { *out = &context; return device == 7 ? 0 : kInvalid; }
int cuCtxSetCurrent(void *given) { return given == &context ? 0 : kInvalid; }
int cuCtxSynchronize() { return sticky; }
int cuModuleLoadDataEx(void **out, const char *image, unsigned count, int *options, void **values) {
    // Where the log goes and its size: CU_JIT_ERROR_LOG_BUFFER and …_SIZE_BYTES.
    if (count != 2 || options[0] != 5 || options[1] != 6) return kInvalid;
    auto size = reinterpret_cast<uintptr_t>(values[1]);
    if (std::strstr(image, "broken")) {
        std::snprintf(static_cast<char *>(values[0]), size, "ptxas error: line 3");
        return kPtx;
    }
    *out = new Module{image};
    return 0;
}
int cuModuleUnload(Module *module) { delete module; return 0; }
int cuModuleGetFunction(void **out, Module *module, const char *name) {
    if (module->ptx.find(std::string(".entry ") + name + "(") == std::string::npos) return kMissing;
    *out = new Function{name};
    return 0;
}
int cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute != 8 || value > 166912) return kInvalid;
    function->dynamic_shared = value;
    return 0;
}
int cuFuncGetAttribute(int *value, int attribute, Function *function) {
    *value = attribute == 4 ? 99 : 0;
    return function && (attribute == 3 || attribute == 4) ? 0 : kInvalid;
}
int cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *given_stream, void **params, void **extra) {
    if (extra || given_stream || bx * by * bz > 1024 || int(shared) > function->dynamic_shared) return kInvalid;
    if (function->name == "faulty") sticky = kIllegal;
    if (function->name != "store" || sticky) return 0;
    auto address = *static_cast<uint64_t *>(params[0]);
    if (!allocated.count(address)) return kInvalid;
    for (unsigned block = 0; block < gx * gy * gz; ++block)
        std::memcpy(reinterpret_cast<char *>(address) + 4 * block, params[1], 4);
    return 0;
}
int cuMemAlloc_v2(uint64_t *out, size_t size) {
    *out = reinterpret_cast<uint64_t>(std::calloc(size, 1));
    allocated.insert(*out);
    return sticky;
}
int cuMemFree_v2(uint64_t address) {
    if (!allocated.erase(address)) return kInvalid;
    std::free(reinterpret_cast<void *>(address));
    return sticky;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) {
    std::memcpy(reinterpret_cast<void *>(to), from, size);
    return sticky;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    std::memcpy(to, reinterpret_cast<void *>(from), size);
    return sticky;
}
int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t size, void *given_stream) {
    if (given_stream && given_stream != &stream) return kInvalid;
    std::memset(reinterpret_cast<void *>(to), byte, size);
    return sticky;
}
int cuStreamCreate(void **out, unsigned flags) { *out = &stream; return flags == 1 ? 0 : kInvalid; }
int cuEventCreate(void **out, unsigned flags) { *out = new Event; return flags ? kInvalid : sticky; }
int cuEventRecord(Event *event, void *given_stream) { event->recorded = true; return given_stream ? kInvalid : sticky; }
int cuEventSynchronize(Event *event) { return event->recorded ? sticky : kInvalid; }
int cuEventElapsedTime(float *out, Event *start, Event *end) {
    *out = 0.5f;
    return start->recorded && end->recorded ? sticky : kInvalid;
}
int cuEventDestroy_v2(Event *event) { delete event; return 0; }
int cuGetErrorString(int code, const char **out) {
    *out = code == kIllegal ? "an illegal memory access was encountered" : code == kPtx ? "a PTX JIT compilation failed"
                                                                                        : "invalid argument";
    return 0;
}
}
