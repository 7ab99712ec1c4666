/* Peaks of one x86-64 core: what no kernel of this CPU can exceed.
 *
 * Compiled by roofline.py with -march=native; prints one "name value" line for each peak.
 * The loops are assembly because compilers spill the accumulators of such tiles, and a peak must
 * not depend on the compiler: one gives 760 and another 1200 GMAC/s for the same C source.
 *
 * popcount_*: a tile of xor + popcount + add over packed signs, operands in L1, as a binary
 *   convolution runs it; one MAC is one bit. In GMAC/s.
 * fma_*: a tile of float32 fused multiply-adds, operands in L1. In GMAC/s.
 * read_*, copy_*: bytes read, or copied (counted once), from buffers that fit a level. In GB/s.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void (*kernel)(long steps, const void *pixels, const void *weights);

/* A tile is ROWS pixels x 4 (zmm) or 2 (ymm) vectors of channels; `pixels` has 4 bytes at 64 * row,
 * `weights` one tile row of vectors. System V calling convention: rdi, rsi, rdx. */

#define LOOP(name, zero, body)                                                            \
    __asm__(".text\n.p2align 6\n" name ":\n" zero ".p2align 6\n1:\n" body                  \
            "sub $1, %rdi\njnz 1b\nvzeroupper\nret\n");

#if defined(__AVX512F__)
#define ROWS6(row) row(0, 0, 1, 2, 3) row(1, 4, 5, 6, 7) row(2, 8, 9, 10, 11) \
    row(3, 12, 13, 14, 15) row(4, 16, 17, 18, 19) row(5, 20, 21, 22, 23)
#define ZERO(acc) "vpxord %zmm" #acc ", %zmm" #acc ", %zmm" #acc "\n"
#define ZERO_ROW(row, a, b, c, d) ZERO(a) ZERO(b) ZERO(c) ZERO(d)
#define WEIGHTS4                                                             \
    "vmovdqa64 (%rdx), %zmm24\nvmovdqa64 64(%rdx), %zmm25\n"                 \
    "vmovdqa64 128(%rdx), %zmm26\nvmovdqa64 192(%rdx), %zmm27\n"

#define FMA_ZMM(row, acc, weight) \
    "vfmadd231ps 64*" #row "(%rsi){1to16}, %zmm" #weight ", %zmm" #acc "\n"
#define FMA_ZMM_ROW(row, a, b, c, d) \
    FMA_ZMM(row, a, 24) FMA_ZMM(row, b, 25) FMA_ZMM(row, c, 26) FMA_ZMM(row, d, 27)
LOOP("fma_zmm", ROWS6(ZERO_ROW), WEIGHTS4 ROWS6(FMA_ZMM_ROW))
void fma_zmm(long steps, const void *pixels, const void *weights);
#endif

#if defined(__AVX512VPOPCNTDQ__)
#define POP(row, acc, weight, temporary)                                                \
    "vpxord 64*" #row "(%rsi){1to16}, %zmm" #weight ", %zmm" #temporary "\n"            \
    "vpopcntd %zmm" #temporary ", %zmm" #temporary "\n"                                 \
    "vpaddd %zmm" #temporary ", %zmm" #acc ", %zmm" #acc "\n"
#define POP_ROW(row, a, b, c, d) \
    POP(row, a, 24, 28) POP(row, b, 25, 29) POP(row, c, 26, 30) POP(row, d, 27, 31)
LOOP("popcount_zmm", ROWS6(ZERO_ROW), WEIGHTS4 ROWS6(POP_ROW))
void popcount_zmm(long steps, const void *pixels, const void *weights);
#endif

#if defined(__AVX2__) && defined(__FMA__)
#define FMA_YMM_ROW(row, a, b)                                          \
    "vbroadcastss 64*" #row "(%rsi), %ymm14\n"                          \
    "vfmadd231ps %ymm14, %ymm12, %ymm" #a "\nvfmadd231ps %ymm14, %ymm13, %ymm" #b "\n"
LOOP("fma_ymm", "vzeroall\n", "vmovaps (%rdx), %ymm12\nvmovaps 32(%rdx), %ymm13\n"
     FMA_YMM_ROW(0, 0, 1) FMA_YMM_ROW(1, 2, 3) FMA_YMM_ROW(2, 4, 5)
     FMA_YMM_ROW(3, 6, 7) FMA_YMM_ROW(4, 8, 9) FMA_YMM_ROW(5, 10, 11))
void fma_ymm(long steps, const void *pixels, const void *weights);

/* Bit counts of the two nibbles of each byte by table (ymm15, mask in ymm14), summed in bytes. The
 * widening of the bytes, once in 31 words at best, is left out: it is a peak. */
#define NIBBLES(acc, weight, low, high)                                                    \
    "vpxor %ymm13, %ymm" #weight ", %ymm" #high "\n"                                       \
    "vpand %ymm14, %ymm" #high ", %ymm" #low "\n"                                          \
    "vpsrlw $4, %ymm" #high ", %ymm" #high "\nvpand %ymm14, %ymm" #high ", %ymm" #high "\n" \
    "vpshufb %ymm" #low ", %ymm15, %ymm" #low "\n"                                         \
    "vpshufb %ymm" #high ", %ymm15, %ymm" #high "\n"                                       \
    "vpaddb %ymm" #low ", %ymm" #acc ", %ymm" #acc "\n"                                    \
    "vpaddb %ymm" #high ", %ymm" #acc ", %ymm" #acc "\n"
#define NIBBLES_ROW(row, a, b)                       \
    "vpbroadcastd 64*" #row "(%rsi), %ymm13\n" NIBBLES(a, 8, 10, 11) NIBBLES(b, 9, 12, 11)
LOOP("popcount_ymm", "vzeroall\n", "vmovdqa (%rdx), %ymm8\nvmovdqa 32(%rdx), %ymm9\n"
     NIBBLES_ROW(0, 0, 1) NIBBLES_ROW(1, 2, 3) NIBBLES_ROW(2, 4, 5) NIBBLES_ROW(3, 6, 7))
void popcount_ymm(long steps, const void *pixels, const void *weights);
#endif

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Short runs, and many: the fastest one met no interrupt and no busy neighbour. */
static void peak(const char *name, kernel run, double macs_per_step) {
    static uint8_t operands[2][1024] __attribute__((aligned(64)));
    const long steps = 20000;
    double best = 1e9;
    for (int round = 0; round < 3000; ++round) {
        double start = now();
        run(steps, operands[0], operands[1]);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
    }
    printf("%s %.1f\n", name, macs_per_step * (double)steps / best * 1e-9);
}

#if defined(__AVX512F__)
typedef int64_t vector __attribute__((vector_size(64)));
#else
typedef int64_t vector __attribute__((vector_size(32)));
#endif

static void bandwidth(const char *level, size_t bytes) {
    vector *from = aligned_alloc(64, bytes), *to = aligned_alloc(64, bytes);
    if (!from || !to) abort();
    memset(from, 1, bytes);
    memset(to, 1, bytes);
    const size_t repeats = bytes < (1u << 22) ? (1u << 24) / bytes : 1;
    const size_t vectors = bytes / sizeof(vector);
    double best_read = 1e9, best_copy = 1e9;
    for (int round = 0; round < 100; ++round) {
        double start = now();
        for (size_t repeat = 0; repeat < repeats; ++repeat) {
            vector a = {0}, b = {0}, c = {0}, d = {0};
            for (size_t i = 0; i < vectors; i += 4) {
                a += from[i];
                b += from[i + 1];
                c += from[i + 2];
                d += from[i + 3];
            }
            a += b + c + d;
            __asm__ volatile("" : : "m"(a) : "memory");
        }
        double middle = now();
        for (size_t repeat = 0; repeat < repeats; ++repeat) {
            for (size_t i = 0; i < vectors; i += 2) {
                to[i] = from[i];
                to[i + 1] = from[i + 1];
                /* Else this loop becomes memcpy, and the result a property of the C library. */
                __asm__ volatile("" : : : "memory");
            }
        }
        double end = now();
        if (middle - start < best_read) best_read = middle - start;
        if (end - middle < best_copy) best_copy = end - middle;
    }
    double gigabytes = (double)bytes * (double)repeats * 1e-9;
    printf("read_%s %.1f\ncopy_%s %.1f\n", level, gigabytes / best_read, level,
           gigabytes / best_copy);
    free(from);
    free(to);
}

int main(void) {
#if defined(__AVX512VPOPCNTDQ__)
    peak("popcount_zmm", popcount_zmm, 24 * 512.0);
#endif
#if defined(__AVX512F__)
    peak("fma_zmm", fma_zmm, 24 * 16.0);
#endif
#if defined(__AVX2__) && defined(__FMA__)
    peak("popcount_ymm", popcount_ymm, 8 * 256.0);
    peak("fma_ymm", fma_ymm, 12 * 8.0);
#endif
    /* Two buffers are in use when copying: each size is well under half of its level. */
    bandwidth("16K", 16u << 10);
    bandwidth("256K", 256u << 10);
    bandwidth("4M", 4u << 20);
    bandwidth("256M", 256u << 20);
    return 0;
}
