/* Times bnn_call on inputs from a seed and prints one line of JSON:
 *
 *   PROGRAM CONSTANTS REPEATS MICROSECONDS LIMIT THREADS
 *
 * REPEATS bursts of calls, each of at least one call and about MICROSECONDS. The seconds are those
 * of one call. The digest is FNV-1a of the outputs: equal for every schedule of one kernel for one
 * target. A program that takes longer than LIMIT seconds ends itself by SIGALRM.
 */
#define _GNU_SOURCE
#include "trial.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timing.h"

enum { ALIGN = 64, WARM = 3, MOST_LOOPS = 100000 };

static void fill(void *at, const struct bnn_buffer *buffer, uint64_t state, FILE *constants) {
  size_t bytes = (size_t)buffer->bytes;
  memset(at, 0, bytes);
  switch (buffer->fill) {
    case BNN_FLOATS:
      for (size_t i = 0; i < bytes / 4; ++i)
        ((float *)at)[i] = next_float(&state);
      break;
    case BNN_PIXELS:
      for (size_t i = 0; i < bytes / 2; ++i) ((int16_t *)at)[i] = (int16_t)(next(&state) >> 56);
      break;
    case BNN_BITS:
      for (size_t i = 0; i < bytes; ++i) ((uint8_t *)at)[i] = (uint8_t)(next(&state) >> 56);
      break;
    case BNN_CONSTANT:
      if (fread(at, 1, bytes, constants) != bytes) fail("the file of constants is too short");
      break;
    case BNN_SCRATCH:
    case BNN_OUTPUT:
      break;
  }
}

static uint64_t digest(void **p) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int32_t i = 0; i < bnn_count; ++i)
    for (int64_t k = 0; bnn_buffers[i].fill == BNN_OUTPUT && k < bnn_buffers[i].bytes; ++k)
      hash = (hash ^ ((const uint8_t *)p[i])[k]) * 0x100000001b3u;
  return hash;
}

static double burst(void **p, int loops) {
  double start = now();
  for (int i = 0; i < loops; ++i)
    if (bnn_call(p)) fail("the code returned an error");
  return (now() - start) / loops;
}

int main(int argc, char **argv) {
  if (argc != 6) fail("usage: PROGRAM CONSTANTS REPEATS MICROSECONDS LIMIT THREADS");
  int repeats = atoi(argv[2]), threads = atoi(argv[5]);
  double wanted = 1e-6 * atof(argv[3]), once = 0;
  alarm((unsigned)atoi(argv[4]));
  if (bnn_threads(threads) == 1) pin();
  FILE *constants = fopen(argv[1], "rb");
  if (!constants) fail("cannot open the file of constants");
  uint64_t seed = 0;
  void **p = calloc((size_t)bnn_count + 1, sizeof *p);
  for (int32_t i = 0; p && i < bnn_count; ++i) {
    size_t size = ((size_t)bnn_buffers[i].bytes + ALIGN) / ALIGN * ALIGN;
    if (!(p[i] = aligned_alloc(ALIGN, size))) fail("out of memory");
    /* Seeds count what is not a constant: schedules differ in how many constants they have. */
    seed += bnn_buffers[i].fill != BNN_CONSTANT;
    fill(p[i], &bnn_buffers[i], seed, constants);
  }
  if (p) bnn_clear_inputs(p);
  if (!p || fgetc(constants) != EOF) fail("the file of constants is of another program");
  for (int i = 0; i < WARM; ++i) once = burst(p, 1);
  double loops = wanted / (once > 1e-9 ? once : 1e-9);
  int count = loops < 1 ? 1 : loops > MOST_LOOPS ? MOST_LOOPS : (int)loops;
  printf("{\"name\": \"%s\", \"seconds\": [", bnn_name);
  for (int i = 0; i < repeats; ++i) printf("%s%.9e", i ? ", " : "", burst(p, count));
  bnn_clear_outputs(p);
  printf("], \"digest\": \"%016" PRIx64 "\"}\n", digest(p));
  return 0;
}
