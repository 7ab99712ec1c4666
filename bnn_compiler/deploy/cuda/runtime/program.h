/* A network as data: what its generated C file fills in. */
#ifndef BNN_PROGRAM_H
#define BNN_PROGRAM_H

#include <stdint.h>

/* Device code: a cubin for GPUs of the same major version and at least this minor one (of exactly
 * this one if ``exact``), or PTX, from which the driver makes code for this GPU and later ones. */
struct image {
  const unsigned char *start;
  int version; /* 10 * major + minor */
  int ptx, exact;
};

/* ``early`` kernels wait themselves for the kernel before them, so that they may start before it
 * ends. */
struct kernel {
  const char *symbol;
  unsigned int grid[3], block[3], shared;
  int early;
};

enum place { IN_ARENA, IN_WEIGHTS, IN_INPUT, IN_OUTPUT };

/* A pointer that a kernel takes: an offset, or the number of an input or output. */
struct argument {
  enum place place;
  uint64_t value;
};

/* A kernel call, with ``count`` arguments from ``first``. */
struct step {
  int kernel, first, count;
};

/* Words that a workspace holds from the beginning, and no kernel changes: of each pixel's words the
 * last is ``last``, any other ``value``. (All else begins as 0.) */
struct fill {
  uint64_t offset;
  uint32_t pixels, words, value, last;
};

/* An input or output; ``number`` says whether it holds floats. */
struct tensor {
  const char *name;
  uint64_t bytes;
  int number;
};

#endif
