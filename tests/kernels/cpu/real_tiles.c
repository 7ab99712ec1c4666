/* For tests where there is AMX: behind deploy/cpu/runtime/bnn_tiles.c, whose functions are hidden. */
int32_t real_permit(void) { return bnn_tiles_permit(); }
void real_configure(int32_t rows) { bnn_tiles_configure(rows); }
void real_release(void) { bnn_tiles_release(); }

/* Whether this thread's tiles are configured. */
int32_t real_in_use(void) {
  uint8_t sizes[64] = {0};
  /* sttilecfg (%rax) */
  __asm__ volatile(".byte 0xc4, 0xe2, 0x79, 0x49, 0x00" : : "a"(sizes) : "memory");
  return sizes[0];
}
