/* AMX tiles of a thread: leave to use them, their sizes for one kernel, and their release.
 *
 * Linked into networks that have such kernels; link.py names the functions after the network. What
 * old assemblers lack is written as bytes.
 */
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

enum { TILES = 8, SUMS_AND_PIXELS = 6, ROWS = 16, BYTES = 64 };
enum { ARCH_PRCTL = 158, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

HIDDEN int32_t bnn_tiles_permit(void);
HIDDEN void bnn_tiles_configure(int32_t rows);
HIDDEN void bnn_tiles_release(void);

/* 0, or what the system answers instead: it has to be asked once in a process. */
int32_t bnn_tiles_permit(void) {
  static int32_t granted;
  if (__atomic_load_n(&granted, __ATOMIC_RELAXED)) return 0;
  int64_t answer;
  __asm__ volatile("syscall"
                   : "=a"(answer)
                   : "a"((int64_t)ARCH_PRCTL), "D"((int64_t)ARCH_REQ_XCOMP_PERM),
                     "S"((int64_t)XFEATURE_XTILEDATA)
                   : "rcx", "r11", "memory");
  if (answer == 0) __atomic_store_n(&granted, 1, __ATOMIC_RELAXED);
  return (int32_t)answer;
}

/* Tiles of sums and of pixels with ``rows`` rows, of weights with 16. */
void bnn_tiles_configure(int32_t rows) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } sizes = {.palette = 1};
  for (int i = 0; i < TILES; ++i) {
    sizes.bytes[i] = BYTES;
    sizes.rows[i] = (uint8_t)(i < SUMS_AND_PIXELS ? rows : ROWS);
  }
  /* ldtilecfg (%rax) */
  __asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" : : "a"(&sizes), "m"(sizes));
}

void bnn_tiles_release(void) {
  /* tilerelease */
  __asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0" : : : "memory");
}
