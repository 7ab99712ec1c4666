// CUDA's meaning on a CPU, for kernels as they are compiled for a GPU. The threads of a block are
// fibers on one stack each: they change places where a warp or the block meets.
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include <cmath>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#define CUDART_INF_F __builtin_inff()
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define BNN_DEVICE static inline

typedef unsigned char uchar;
typedef unsigned int uint;
typedef unsigned short ushort;
struct int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct dim3 { unsigned x, y, z; };

#define alignas(n) __attribute__((aligned(n)))

static thread_local dim3 threadIdx, blockIdx;

template <class A, class B> static inline auto max(A a, B b) { return a > b ? a : b; }
template <class A, class B> static inline auto min(A a, B b) { return a < b ? a : b; }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }

namespace bnn {

struct Copy {
  void *to;
  const void *from;  // null: 0
  size_t bytes;
};

struct Fiber {
  std::vector<Copy> begun;                // since the last group's end
  std::deque<std::vector<Copy>> groups;  // that nobody has waited for
  jmp_buf at;
  ucontext_t start;
  std::unique_ptr<char[]> stack;
  dim3 thread;
  bool running, done;
};

// Where `size` threads wait for each other.
struct Meeting {
  unsigned size, arrived, phase;
};

struct Warp {
  Meeting meeting;
  const void *slots[32];
};

constexpr size_t kStack = 1 << 16;

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Meeting meeting;
  Fiber *self;
  jmp_buf scheduler;
  bool moved;
};

static thread_local Block block;
static thread_local void (*body)(void *);
static thread_local void *argument;

static inline void yield() {
  if (!_setjmp(block.self->at)) _longjmp(block.scheduler, 1);
}

static inline void meet(Meeting &m) {
  unsigned phase = m.phase;
  if (++m.arrived == m.size) {
    m.arrived = 0;
    m.phase++;
    block.moved = true;
    return;
  }
  while (m.phase == phase) yield();
}

static inline size_t number() { return block.self - block.fibers.data(); }
static inline unsigned lane() { return number() % 32; }
static inline Warp &warp() { return block.warps[number() / 32]; }

// Every lane hands in a pointer; `then` sees all 32 of them before any lane goes on.
template <class F> static inline auto together(const void *mine, F then) {
  Warp &w = warp();
  w.slots[lane()] = mine;
  meet(w.meeting);
  auto result = then(w.slots);
  meet(w.meeting);
  return result;
}

static void enter() {
  body(argument);
  block.self->done = block.moved = true;
  _longjmp(block.scheduler, 1);
}

__attribute__((noinline)) static void resume(Fiber *f) {
  block.self = f;
  threadIdx = f->thread;
  if (_setjmp(block.scheduler)) return;
  if (f->running) _longjmp(f->at, 1);
  f->running = true;
  setcontext(&f->start);
}

static void prepare(dim3 size) {
  size_t count = size_t(size.x) * size.y * size.z;
  block.fibers.resize(count);
  block.warps.resize((count + 31) / 32);
  block.meeting = {unsigned(count), 0, 0};
  for (size_t i = 0; i < block.warps.size(); i++)
    block.warps[i].meeting = {unsigned(count - 32 * i < 32 ? count - 32 * i : 32), 0, 0};
  for (size_t i = 0; i < count; i++) {
    Fiber &f = block.fibers[i];
    f.thread = {unsigned(i % size.x), unsigned(i / size.x % size.y), unsigned(i / size.x / size.y)};
    f.running = f.done = false;
    f.begun.clear(), f.groups.clear();
    if (!f.stack) f.stack.reset(new char[kStack]);
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = f.stack.get();
    f.start.uc_stack.ss_size = kStack;
    f.start.uc_link = nullptr;
    makecontext(&f.start, enter, 0);
  }
}

// 0, or 1 if threads wait for others that never come.
static int run_block() {
  for (bool left = true; left;) {
    left = block.moved = false;
    for (auto &f : block.fibers)
      if (!f.done) {
        resume(&f);
        left |= !f.done;
      }
    if (left && !block.moved) return 1;
  }
  return 0;
}

// Every block and thread of `call`; `meets` says whether its threads meet.
template <class F> static int launch(bool meets, dim3 grid, dim3 size, F call) {
  body = [](void *f) { (*static_cast<F *>(f))(); };
  argument = &call;
  dim3 b, t;
  for (b.z = 0; b.z < grid.z; b.z++)
    for (b.y = 0; b.y < grid.y; b.y++)
      for (b.x = 0; b.x < grid.x; b.x++) {
        blockIdx = b;
        if (meets) {
          prepare(size);
          if (run_block()) return 1;
          continue;
        }
        for (t.z = 0; t.z < size.z; t.z++)
          for (t.y = 0; t.y < size.y; t.y++)
            for (t.x = 0; t.x < size.x; t.x++) {
              threadIdx = t;
              call();
            }
      }
  return 0;
}

template <class... A, size_t... I>
static int run(bool meets, dim3 grid, dim3 size, void (*kernel)(A...), void **p, const int *order,
               std::index_sequence<I...>) {
  return launch(meets, grid, size, [=] { kernel(static_cast<A>(p[order[I]])...); });
}

template <class... A>
static int run(bool meets, dim3 grid, dim3 size, void (*kernel)(A...), void **p, const int *order) {
  return run(meets, grid, size, kernel, p, order, std::index_sequence_for<A...>());
}

}  // namespace bnn

static inline void __syncthreads() { bnn::meet(bnn::block.meeting); }
static inline void __syncwarp() { bnn::meet(bnn::warp().meeting); }

BNN_DEVICE float bnn_fma(float a, float b, float c) { return std::fmaf(a, b, c); }
BNN_DEVICE float bnn_max(float a, float b) { return a > b ? a : b; }
BNN_DEVICE float bnn_min(float a, float b) { return a < b ? a : b; }
BNN_DEVICE float bnn_largest(float a, float b) { return std::fmax(a, b); }
static inline int32_t bnn_bits(float a) {
  int32_t bits;
  __builtin_memcpy(&bits, &a, sizeof bits);
  return bits;
}
static inline float bnn_from_bits(int32_t a) {
  float value;
  __builtin_memcpy(&value, &a, sizeof value);
  return value;
}
BNN_DEVICE void bnn_load2(unsigned &a, unsigned &b, const unsigned *at) {
  // As on a GPU, where that is an error.
  if (uintptr_t(at) % 8) __builtin_trap();
  a = at[0], b = at[1];
}
BNN_DEVICE void bnn_load2_if(bool inside, unsigned &a, unsigned &b, const unsigned *at) {
  a = b = 0;
  if (inside) bnn_load2(a, b, at);
}
// Copies come as late as they may: not before they are waited for. From the beginning on nothing else
// is there any more.
static inline void copy(bool inside, void *to, const void *from, size_t bytes) {
  if (uintptr_t(to) % bytes || uintptr_t(from) % bytes) __builtin_trap();
  __builtin_memset(to, 0xa5, bytes);
  bnn::block.self->begun.push_back({to, inside ? from : nullptr, bytes});
}
BNN_DEVICE void bnn_copy4(bool inside, void *to, const void *from) { copy(inside, to, from, 4); }
BNN_DEVICE void bnn_copy8(bool inside, void *to, const void *from) { copy(inside, to, from, 8); }
BNN_DEVICE void bnn_copy16(bool inside, void *to, const void *from) { copy(inside, to, from, 16); }
BNN_DEVICE void bnn_end_copies() {
  bnn::Fiber &f = *bnn::block.self;
  f.groups.push_back(std::move(f.begun));
  f.begun.clear();
}
template <size_t left> static inline void bnn_wait_copies() {
  for (auto &groups = bnn::block.self->groups; groups.size() > left; groups.pop_front())
    for (const bnn::Copy &c : groups.front())
      c.from ? __builtin_memcpy(c.to, c.from, c.bytes) : __builtin_memset(c.to, 0, c.bytes);
}
// The nearest half, to even between two; what is too large is infinite.
static inline unsigned bnn_to_half(float a) {
  unsigned bits = unsigned(bnn_bits(a)), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fffu;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
  if (magnitude < 0x38800000u) {
    // Subnormal: whole multiples of 2^-24, which the sum with 0.5 rounds to.
    return sign | (unsigned(bnn_bits(std::fabs(a) + 0.5f)) - 0x3f000000u);
  }
  return sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13;
}
static inline float bnn_from_half(unsigned h) {
  unsigned exponent = h >> 10 & 31, fraction = h & 1023;
  float value = exponent == 31 ? (fraction ? __builtin_nanf("") : CUDART_INF_F)
                : exponent     ? std::ldexp(float(1024 + fraction), int(exponent) - 25)
                               : std::ldexp(float(fraction), -24);
  return h & 0x8000u ? -value : value;
}
BNN_DEVICE float bnn_load_if(bool inside, const float *at) { return inside ? *at : 0.0f; }
BNN_DEVICE unsigned bnn_half2(float a, float b) { return bnn_to_half(a) | bnn_to_half(b) << 16; }
BNN_DEVICE unsigned bnn_half2_at(const float *at) {
  if (uintptr_t(at) % 8) __builtin_trap();
  return bnn_half2(at[0], at[1]);
}
BNN_DEVICE unsigned bnn_halves_at(const unsigned short *at) {
  if (uintptr_t(at) % 4) __builtin_trap();
  return at[0] | unsigned(at[1]) << 16;
}
#define BNN_MADE __restrict__
BNN_DEVICE unsigned bnn_thread(unsigned x, unsigned yz, unsigned across) {
  return (blockIdx.y * across + blockIdx.x) * (x * yz) + threadIdx.y * x + threadIdx.x;
}
// Read, so that memory which is not there is found.
#define BNN_FETCH(kernel, number, constants, line, lines) \
  if (line < lines) (void)reinterpret_cast<const volatile char *>(constants)[size_t(128) * line]
BNN_DEVICE void bnn_begin() {}
BNN_DEVICE uint32_t bnn_ballot(bool bit) {
  return bnn::together(&bit, [](const void **bits) {
    uint32_t word = 0;
    for (int i = 0; i < 32; i++) word |= uint32_t(*static_cast<const bool *>(bits[i])) << i;
    return word;
  });
}

// The instructions of tensor cores: every lane's fragments are laid out as matrices and multiplied.
namespace bnn {

template <class T> struct Fragments {
  T *d[4];
  unsigned a[4], b[2];
};

// `rows` x 8 sums over `words` registers of `multiply`, of one lane's.
template <class T, class F> static void mma(Fragments<T> mine, int rows, int words, F multiply) {
  int halves = words / 4, pairs = rows / 8, lane = int(bnn::lane());
  T sums[4] = {};
  together(&mine, [&](const void **all) {
    auto of = [&](int i) { return static_cast<const Fragments<T> *>(all[i]); };
    for (int pair = 0; pair < pairs; pair++)
      for (int odd = 0; odd < 2; odd++) {
        int n = lane % 4 * 2 + odd;
        for (int half = 0; half < halves; half++)
          for (int t = 0; t < 4; t++)
            sums[pair * 2 + odd] += multiply(of(lane / 4 * 4 + t)->a[half * pairs + pair],
                                             of(n * 4 + t)->b[half]);
      }
    return 0;
  });
  for (int i = 0; i < pairs * 2; i++) *mine.d[i] += sums[i];
}

}  // namespace bnn

BNN_DEVICE void bnn_mma_and(int &d0, int &d1, int &d2, int &d3, unsigned a0, unsigned a1,
                            unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  bnn::mma<int>({{&d0, &d1, &d2, &d3}, {a0, a1, a2, a3}, {b0, b1}}, 16, 8,
                [](unsigned a, unsigned b) { return __popc(a & b); });
}
BNN_DEVICE void bnn_mma_int8(int &d0, int &d1, int &d2, int &d3, unsigned a0, unsigned a1,
                             unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  bnn::mma<int>({{&d0, &d1, &d2, &d3}, {a0, a1, a2, a3}, {b0, b1}}, 16, 8, [](unsigned a, unsigned b) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8) sum += int(int8_t(a >> i)) * int(int8_t(b >> i));
    return sum;
  });
}
BNN_DEVICE void bnn_mma_xor(int &d0, int &d1, unsigned a, unsigned b) {
  bnn::mma<int>({{&d0, &d1}, {a}, {b}}, 8, 4, [](unsigned a, unsigned b) { return __popc(a ^ b); });
}
static inline float bnn_dot2(unsigned a, unsigned b) {
  return bnn_from_half(a & 0xffff) * bnn_from_half(b & 0xffff) +
         bnn_from_half(a >> 16) * bnn_from_half(b >> 16);
}
BNN_DEVICE void bnn_mma_half(float &d0, float &d1, float &d2, float &d3, unsigned a0, unsigned a1,
                             unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  bnn::mma<float>({{&d0, &d1, &d2, &d3}, {a0, a1, a2, a3}, {b0, b1}}, 16, 8, bnn_dot2);
}
BNN_DEVICE void bnn_mma_half8(float &d0, float &d1, float &d2, float &d3, unsigned a0, unsigned a1,
                              unsigned b) {
  bnn::mma<float>({{&d0, &d1, &d2, &d3}, {a0, a1}, {b}}, 16, 4, bnn_dot2);
}
