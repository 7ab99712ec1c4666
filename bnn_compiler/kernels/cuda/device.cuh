// What kernels call besides CUDA's own functions. host.h says the same for a CPU.
#include <math_constants.h>
#include <stdint.h>

typedef unsigned char uchar;
typedef unsigned int uint;
typedef unsigned short ushort;

#define BNN_DEVICE static __device__ __forceinline__

BNN_DEVICE float bnn_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// As LLVM has them on CPUs: of unlike zeros the second one.
BNN_DEVICE float bnn_max(float a, float b) { return a > b ? a : b; }
BNN_DEVICE float bnn_min(float a, float b) { return a < b ? a : b; }
BNN_DEVICE int32_t bnn_bits(float a) { return __float_as_int(a); }
BNN_DEVICE float bnn_from_bits(int32_t a) { return __int_as_float(a); }
BNN_DEVICE uint32_t bnn_ballot(bool bit) { return __ballot_sync(0xffffffffu, bit); }

// With programmatic dependent launch a kernel starts before the one ahead of it has ended. What
// that one writes is there after this; the next kernel's blocks may come from then on.
BNN_DEVICE void bnn_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
