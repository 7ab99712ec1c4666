/* Peaks of one x86-64 core: what no kernel of this CPU can exceed.
 *
 * Compiled by measure.py with -march=native; prints one "name value" line for each peak. A peak
 * of arithmetic is named KIND_FLAG or KIND_FLAG-FORM after the CPU flag that its loop needs.
 * Arguments: LEVEL=BYTES for each memory level, the size of the buffer to read and of the two to
 * copy between.
 * The loops are assembly because compilers spill the accumulators of such tiles, and a peak must
 * not depend on the compiler: one gives 760 and another 1200 GMAC/s for the same C source.
 *
 * popcount_*: a tile of xor + popcount + add over packed signs, operands in L1, as a binary
 *   convolution runs it; one MAC is one bit. In GMAC/s. popcount_*-table: by table look-up.
 * fma_*: a tile of float32 fused multiply-adds, operands in L1. In GMAC/s.
 * int8_*: a tile of 8-bit dot products summed in 32 bits, operands in L1. In GMAC/s.
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
LOOP("fma_avx512f", ROWS6(ZERO_ROW), WEIGHTS4 ROWS6(FMA_ZMM_ROW))
void fma_avx512f(long steps, const void *pixels, const void *weights);
#endif

#if defined(__AVX512VNNI__)
#define DOT(row, acc, weight) \
    "vpdpbusd 64*" #row "(%rsi){1to16}, %zmm" #weight ", %zmm" #acc "\n"
#define DOT_ROW(row, a, b, c, d) DOT(row, a, 24) DOT(row, b, 25) DOT(row, c, 26) DOT(row, d, 27)
LOOP("int8_avx512_vnni", ROWS6(ZERO_ROW), WEIGHTS4 ROWS6(DOT_ROW))
void int8_avx512_vnni(long steps, const void *pixels, const void *weights);
#endif

#if defined(__AVX512VPOPCNTDQ__)
#define POP(row, acc, weight, temporary)                                                \
    "vpxord 64*" #row "(%rsi){1to16}, %zmm" #weight ", %zmm" #temporary "\n"            \
    "vpopcntd %zmm" #temporary ", %zmm" #temporary "\n"                                 \
    "vpaddd %zmm" #temporary ", %zmm" #acc ", %zmm" #acc "\n"
#define POP_ROW(row, a, b, c, d) \
    POP(row, a, 24, 28) POP(row, b, 25, 29) POP(row, c, 26, 30) POP(row, d, 27, 31)
LOOP("popcount_avx512_vpopcntdq", ROWS6(ZERO_ROW), WEIGHTS4 ROWS6(POP_ROW))
void popcount_avx512_vpopcntdq(long steps, const void *pixels, const void *weights);
#endif

/* Without VPOPCNTDQ there are two forms, both summed in bytes. The widening of the bytes, once in
 * 31 words or 63 look-ups at best, is left out: it is a peak.
 * - Packed signs: xor, then the bit counts of the two nibbles of each byte by a constant table.
 * - Table: a byte of weights holds 4 signs of one output and selects from the row of the table that
 *   4 signs of the pixel chose, so there is no xor, mask or shift, but weights are twice as large.
 *   Look-ups come four at a time: alternating with the sums, Zen 4 reaches only 80 %. */

#if defined(__AVX512BW__)
/* The table is in zmm31, the mask in zmm30. */
#define NIBBLES_ZMM(row, acc, weight, low, high)                                           \
    "vpxord 64*" #row "(%rsi){1to16}, %zmm" #weight ", %zmm" #high "\n"                    \
    "vpandd %zmm30, %zmm" #high ", %zmm" #low "\n"                                         \
    "vpsrlw $4, %zmm" #high ", %zmm" #high "\n"                                            \
    "vpandd %zmm30, %zmm" #high ", %zmm" #high "\n"                                        \
    "vpshufb %zmm" #low ", %zmm31, %zmm" #low "\n"                                         \
    "vpshufb %zmm" #high ", %zmm31, %zmm" #high "\n"                                       \
    "vpaddb %zmm" #low ", %zmm" #acc ", %zmm" #acc "\n"                                    \
    "vpaddb %zmm" #high ", %zmm" #acc ", %zmm" #acc "\n"
#define NIBBLES_ZMM_ROW(row, a, b, c, d)                               \
    NIBBLES_ZMM(row, a, 16, 20, 21) NIBBLES_ZMM(row, b, 17, 22, 23)    \
    NIBBLES_ZMM(row, c, 18, 24, 25) NIBBLES_ZMM(row, d, 19, 26, 27)
#define ROWS4(row) row(0, 0, 1, 2, 3) row(1, 4, 5, 6, 7) row(2, 8, 9, 10, 11) row(3, 12, 13, 14, 15)
LOOP("popcount_avx512bw", ROWS4(ZERO_ROW) ZERO_ROW(0, 28, 29, 30, 31),
     "vmovdqa64 (%rdx), %zmm16\nvmovdqa64 64(%rdx), %zmm17\n"
     "vmovdqa64 128(%rdx), %zmm18\nvmovdqa64 192(%rdx), %zmm19\n" ROWS4(NIBBLES_ZMM_ROW))
void popcount_avx512bw(long steps, const void *pixels, const void *weights);

#define LOOK_UP_ZMM(weight, temporary) \
    "vpshufb %zmm" #weight ", %zmm20, %zmm" #temporary "\n"
#define COUNT_ZMM(acc, temporary) \
    "vpaddb %zmm" #temporary ", %zmm" #acc ", %zmm" #acc "\n"
#define LOOK_UP_ZMM_ROW(row, a, b, c, d)                                             \
    "vmovdqa64 64*" #row "(%rsi), %zmm20\n"                                          \
    LOOK_UP_ZMM(16, 21) LOOK_UP_ZMM(17, 22) LOOK_UP_ZMM(18, 23) LOOK_UP_ZMM(19, 24)  \
    COUNT_ZMM(a, 21) COUNT_ZMM(b, 22) COUNT_ZMM(c, 23) COUNT_ZMM(d, 24)
LOOP("table_avx512bw", ROWS4(ZERO_ROW),
     "vmovdqa64 (%rdx), %zmm16\nvmovdqa64 64(%rdx), %zmm17\n"
     "vmovdqa64 128(%rdx), %zmm18\nvmovdqa64 192(%rdx), %zmm19\n" ROWS4(LOOK_UP_ZMM_ROW))
void table_avx512bw(long steps, const void *pixels, const void *weights);
#endif

#if defined(__AVX2__) && defined(__FMA__)
#define FMA_YMM_ROW(row, a, b)                                          \
    "vbroadcastss 64*" #row "(%rsi), %ymm14\n"                          \
    "vfmadd231ps %ymm14, %ymm12, %ymm" #a "\nvfmadd231ps %ymm14, %ymm13, %ymm" #b "\n"
LOOP("fma_avx2", "vzeroall\n", "vmovaps (%rdx), %ymm12\nvmovaps 32(%rdx), %ymm13\n"
     FMA_YMM_ROW(0, 0, 1) FMA_YMM_ROW(1, 2, 3) FMA_YMM_ROW(2, 4, 5)
     FMA_YMM_ROW(3, 6, 7) FMA_YMM_ROW(4, 8, 9) FMA_YMM_ROW(5, 10, 11))
void fma_avx2(long steps, const void *pixels, const void *weights);

/* The table is in ymm15, the mask in ymm14. */
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
LOOP("popcount_avx2", "vzeroall\n", "vmovdqa (%rdx), %ymm8\nvmovdqa 32(%rdx), %ymm9\n"
     NIBBLES_ROW(0, 0, 1) NIBBLES_ROW(1, 2, 3) NIBBLES_ROW(2, 4, 5) NIBBLES_ROW(3, 6, 7))
void popcount_avx2(long steps, const void *pixels, const void *weights);

#define LOOK_UP_YMM(row, weight, temporary) \
    "vpshufb %ymm" #weight ", %ymm" #row ", %ymm" #temporary "\n"
#define COUNT_YMM(acc, temporary) "vpaddb %ymm" #temporary ", %ymm" #acc ", %ymm" #acc "\n"
#define LOOK_UP_YMM_ROWS(row, next, a, b, c, d)                                              \
    "vmovdqa 64*" #row "(%rsi), %ymm10\nvmovdqa 64*" #next "(%rsi), %ymm11\n"                \
    LOOK_UP_YMM(10, 8, 12) LOOK_UP_YMM(10, 9, 13) LOOK_UP_YMM(11, 8, 14) LOOK_UP_YMM(11, 9, 15) \
    COUNT_YMM(a, 12) COUNT_YMM(b, 13) COUNT_YMM(c, 14) COUNT_YMM(d, 15)
LOOP("table_avx2", "vzeroall\n", "vmovdqa (%rdx), %ymm8\nvmovdqa 32(%rdx), %ymm9\n"
     LOOK_UP_YMM_ROWS(0, 1, 0, 1, 2, 3) LOOK_UP_YMM_ROWS(2, 3, 4, 5, 6, 7))
void table_avx2(long steps, const void *pixels, const void *weights);
#endif

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Short runs, and many: the fastest one met no interrupt and no busy neighbour. */
static void peak(const char *name, kernel run, double macs_per_step) {
    static uint8_t operands[2][1024] __attribute__((aligned(64)));
    const long steps = 5000;
    const double end = now() + 0.08;
    double best = 1e9;
    for (double start = now(); start < end; start = now()) {
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
    /* Else a compiler that sees `to` overwritten unread leaves the pages to the first round. */
    __asm__ volatile("" : : "r"(from), "r"(to) : "memory");
    const size_t vectors = bytes / sizeof(vector);
    const size_t repeats = bytes < (1u << 21) ? (1u << 21) / bytes : 1;
    const double stop = now() + 0.1;
    double best_read = 1e9, best_copy = 1e9;
    for (double start = now(); start < stop; start = now()) {
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

int main(int count, char **levels) {
#if defined(__AVX512VPOPCNTDQ__)
    peak("popcount_avx512_vpopcntdq", popcount_avx512_vpopcntdq, 24 * 512.0);
#endif
#if defined(__AVX512BW__)
    peak("popcount_avx512bw", popcount_avx512bw, 16 * 512.0);
    peak("popcount_avx512bw-table", table_avx512bw, 16 * 64 * 4.0);
#endif
#if defined(__AVX512VNNI__)
    peak("int8_avx512_vnni", int8_avx512_vnni, 24 * 64.0);
#endif
#if defined(__AVX512F__)
    peak("fma_avx512f", fma_avx512f, 24 * 16.0);
#endif
#if defined(__AVX2__) && defined(__FMA__)
    peak("popcount_avx2", popcount_avx2, 8 * 256.0);
    peak("popcount_avx2-table", table_avx2, 8 * 32 * 4.0);
    peak("fma_avx2", fma_avx2, 12 * 8.0);
#endif
    for (int i = 1; i < count; ++i) {
        char *size = strchr(levels[i], '=');
        if (!size) return 2;
        *size = 0;
        bandwidth(levels[i], strtoull(size + 1, NULL, 10));
    }
    return 0;
}
