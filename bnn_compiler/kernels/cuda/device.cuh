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
BNN_DEVICE uint32_t bnn_ballot(bool bit) { return __ballot_sync(0xffffffffu, bit); }

// With programmatic dependent launch a kernel starts before the one ahead of it has ended. What
// that one writes is there after this; the next kernel's blocks may come from then on.
BNN_DEVICE void bnn_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// c += popcount(a & b) of 16 x 256 and 256 x 8 bits.
#if __CUDA_ARCH__ >= 800
BNN_DEVICE void bnn_mma_and(uint32_t *c, const uint32_t *a, const uint32_t *b) {
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc"
      " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// c += popcount(a ^ b) of 8 x 128 and 128 x 8 bits.
BNN_DEVICE void bnn_mma_xor(uint32_t *c, const uint32_t *a, const uint32_t *b) {
  asm("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0,%1}, {%2}, {%3}, {%0,%1};"
      : "+r"(c[0]), "+r"(c[1])
      : "r"(a[0]), "r"(b[0]));
}
