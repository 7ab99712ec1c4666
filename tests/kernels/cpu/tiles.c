/* What tile instructions mean, for kernels that call them where they cannot be instructions.
 *
 * Each thread has tiles of its own. Whatever the processor would refuse ends the program: a use of
 * tiles that are not configured, a tile beyond its rows, products of tiles that do not fit.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };

static _Thread_local struct {
  int rows[TILES]; /* 0: not configured */
  int8_t data[TILES][ROWS][BYTES];
} state;
static int32_t configured, released, refused;

static void check(int right, const char *what) {
  if (right) return;
  fprintf(stderr, "tiles: %s\n", what);
  abort();
}

static int rows_of(int8_t tile) {
  check(tile >= 0 && tile < TILES, "no such tile");
  check(state.rows[tile] > 0, "used before they are configured");
  return state.rows[tile];
}

int32_t bnn_tiles_permit(void) { return refused; }

void bnn_tiles_configure(int32_t rows) {
  check(rows > 0 && rows <= ROWS, "rows");
  memset(&state, 0, sizeof state);
  for (int i = 0; i < TILES; ++i) state.rows[i] = i < 6 ? rows : ROWS;
  __atomic_add_fetch(&configured, 1, __ATOMIC_SEQ_CST);
}

void bnn_tiles_release(void) {
  memset(&state, 0xAA, sizeof state);
  memset(state.rows, 0, sizeof state.rows);
  __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

void bnn_tile_zero(int8_t tile) {
  rows_of(tile);
  memset(state.data[tile], 0, sizeof state.data[tile]);
}

void bnn_tile_load(int8_t tile, const void *from, int64_t stride) {
  int rows = rows_of(tile);
  memset(state.data[tile], 0, sizeof state.data[tile]);
  for (int r = 0; r < rows; ++r) memcpy(state.data[tile][r], (const char *)from + r * stride, BYTES);
}

void bnn_tile_store(int8_t tile, void *to, int64_t stride) {
  for (int r = 0; r < rows_of(tile); ++r)
    memcpy((char *)to + r * stride, state.data[tile][r], BYTES);
}

static void dot(int8_t sums, int8_t left, int8_t right, int mask) {
  check(rows_of(sums) == rows_of(left) && rows_of(right) == ROWS, "tiles do not fit");
  for (int r = 0; r < rows_of(sums); ++r)
    for (int n = 0; n < BYTES / 4; ++n) {
      int32_t sum;
      memcpy(&sum, &state.data[sums][r][4 * n], 4);
      for (int k = 0; k < BYTES; ++k) {
        int32_t x = state.data[left][r][k];
        sum += (mask ? x & mask : x) * state.data[right][k / 4][4 * n + k % 4];
      }
      memcpy(&state.data[sums][r][4 * n], &sum, 4);
    }
}

void bnn_tile_dot_ss(int8_t sums, int8_t left, int8_t right) { dot(sums, left, right, 0); }
void bnn_tile_dot_us(int8_t sums, int8_t left, int8_t right) { dot(sums, left, right, 0xFF); }

/* For tests: what was counted since the last call, and whether this thread's tiles are released. */
int32_t tiles_configured(void) { return __atomic_exchange_n(&configured, 0, __ATOMIC_SEQ_CST); }
int32_t tiles_released(void) { return __atomic_exchange_n(&released, 0, __ATOMIC_SEQ_CST); }
int32_t tiles_in_use(void) { return state.rows[0]; }
void tiles_refuse(int32_t code) { refused = code; }
