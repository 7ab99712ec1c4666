/* What programs that time something share; _GNU_SOURCE is defined before. */
#ifndef BNN_TIMING_H
#define BNN_TIMING_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void fail(const char *what) {
  fprintf(stdout, "%s\n", what);
  exit(1);
}

/* Stay on the last core that is allowed: where cores differ, it is a fast one. */
static inline void pin(void) {
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all)) return;
  for (int i = CPU_SETSIZE - 1; i >= 0; --i)
    if (CPU_ISSET(i, &all)) {
      CPU_ZERO(&one);
      CPU_SET(i, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
}

static inline uint64_t next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u); /* splitmix64 */
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* In [-1, 1). */
static inline float next_float(uint64_t *state) {
  return (float)((int32_t)(next(state) >> 40) - (1 << 23)) * 0x1p-23f;
}

#endif
