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
BNN_DEVICE float bnn_largest(float a, float b) { return fmaxf(a, b); }
BNN_DEVICE int32_t bnn_bits(float a) { return __float_as_int(a); }
BNN_DEVICE float bnn_from_bits(int32_t a) { return __int_as_float(a); }
BNN_DEVICE uint32_t bnn_ballot(bool bit) { return __ballot_sync(0xffffffffu, bit); }

// Neighbouring words, aligned to 8 bytes; 0 unless `inside`.
BNN_DEVICE void bnn_load2(uint &a, uint &b, const uint *at) {
  const uint2 both = *reinterpret_cast<const uint2 *>(at);
  a = both.x, b = both.y;
}
BNN_DEVICE void bnn_load2_if(bool inside, uint &a, uint &b, const uint *at) {
  a = b = 0;
  if (inside) bnn_load2(a, b, at);
}

// A copy to shared memory that this thread does not wait for, of 0 unless `inside`; groups of them
// end by bnn_end_copies, and bnn_wait_copies waits until all but the last `left` groups are there.
#if __CUDA_ARCH__ >= 800
#define BNN_COPY(bytes, cache)                                                                    \
  BNN_DEVICE void bnn_copy##bytes(bool inside, void *to, const void *from) {                      \
    const uint at = (uint)__cvta_generic_to_shared(to);                                           \
    asm volatile("cp.async." cache ".shared.global [%0], [%1], %2, %3;"                           \
                 :: "r"(at), "l"(from), "n"(bytes), "r"(inside ? bytes : 0) : "memory");          \
  }
BNN_COPY(4, "ca")
BNN_COPY(8, "ca")
BNN_COPY(16, "cg")
BNN_DEVICE void bnn_end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int left> BNN_DEVICE void bnn_wait_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(left) : "memory");
}
#endif
BNN_DEVICE ushort bnn_to_half(float a) {
  ushort bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(a));
  return bits;
}
BNN_DEVICE float bnn_from_half(ushort bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
// 0 unless `inside`, without a branch. Volatile: not before bnn_begin.
BNN_DEVICE float bnn_load_if(bool inside, const float *at) {
  float value;
  asm volatile("{.reg .pred p; setp.ne.u32 p, %1, 0; mov.f32 %0, 0f00000000; @p ld.global.f32 %0, [%2];}"
      : "=f"(value)
      : "r"(uint(inside)), "l"(at));
  return value;
}
// Two numbers rounded to halves, the first one in the low bits.
BNN_DEVICE uint bnn_half2(float a, float b) {
#if __CUDA_ARCH__ >= 800
  uint both;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(b), "f"(a));
  return both;
#else
  return bnn_to_half(a) | uint(bnn_to_half(b)) << 16;
#endif
}
// Of neighbours, aligned to 8 bytes.
BNN_DEVICE uint bnn_half2_at(const float *at) {
  const float2 both = *reinterpret_cast<const float2 *>(at);
  return bnn_half2(both.x, both.y);
}

// The same of halves as they are.
BNN_DEVICE uint bnn_halves_at(const ushort *at) { return *reinterpret_cast<const uint *>(at); }

// In place of __restrict__ where a parameter is no constant; kernels/cuda/early.py.
#if __CUDA_ARCH__ >= 900
#define BNN_MADE
#else
#define BNN_MADE __restrict__
#endif

// The thread's number in the grid, of blocks of x * yz threads, `across` in a row of them.
BNN_DEVICE uint bnn_thread(uint x, uint yz, uint across) {
  return (blockIdx.y * across + blockIdx.x) * (x * yz) + threadIdx.y * x + threadIdx.x;
}
// Line `line` of the `lines` at `constants` into L2, if the kernel can start early. They are the
// kernel's parameter `number`, whose value is taken from where it is: a pointer that goes into asm
// is no longer taken for one to constants.
#if __CUDA_ARCH__ >= 900
#define BNN_FETCH(kernel, number, constants, line, lines)                                         \
  if (line < lines)                                                                               \
    asm volatile("{.reg .u64 at; ld.param.u64 at, [" #kernel "_param_" #number "];"               \
                 " mad.wide.u32 at, %0, 128, at; prefetch.global.L2 [at];}" ::"r"(line))
#else
#define BNN_FETCH(kernel, number, constants, line, lines)
#endif

// With programmatic dependent launch a kernel starts before the one ahead of it has ended. What
// that one writes is there after this; the next kernel's blocks may come from then on.
BNN_DEVICE void bnn_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Sums d of a warp's tile plus the products of its fragments; kernels/cuda/instruction.py.
#if __CUDA_ARCH__ >= 800
BNN_DEVICE void bnn_mma_and(int &d0, int &d1, int &d2, int &d3, uint a0, uint a1, uint a2, uint a3,
                            uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+r"(d0), "+r"(d1), "+r"(d2), "+r"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
BNN_DEVICE void bnn_mma_int8(int &d0, int &d1, int &d2, int &d3, uint a0, uint a1, uint a2, uint a3,
                             uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+r"(d0), "+r"(d1), "+r"(d2), "+r"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
BNN_DEVICE void bnn_mma_half(float &d0, float &d1, float &d2, float &d3, uint a0, uint a1, uint a2,
                             uint a3, uint b0, uint b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#endif
BNN_DEVICE void bnn_mma_half8(float &d0, float &d1, float &d2, float &d3, uint a0, uint a1, uint b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(a0), "r"(a1), "r"(b));
}
BNN_DEVICE void bnn_mma_xor(int &d0, int &d1, uint a, uint b) {
  asm("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0,%1},{%2},{%3},{%0,%1};"
      : "+r"(d0), "+r"(d1)
      : "r"(a), "r"(b));
}
