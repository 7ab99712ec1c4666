/* What a program measures: trial.c runs it, a generated file defines it. */
#ifndef BNN_TRIAL_H
#define BNN_TRIAL_H

#include <stdint.h>

/* How a buffer is filled before the first call. */
enum bnn_fill {
  BNN_FLOATS,   /* random float32 in [-1, 1) */
  BNN_BITS,     /* random bytes */
  BNN_PIXELS,   /* random int16 in 0..255 */
  BNN_CONSTANT, /* the next bytes of the file of constants */
  BNN_SCRATCH,  /* zeros */
  BNN_OUTPUT    /* zeros; part of the digest of what was computed */
};

struct bnn_buffer {
  enum bnn_fill fill;
  int64_t bytes;
};

extern const char bnn_name[];
extern const struct bnn_buffer bnn_buffers[];
extern const int32_t bnn_count;

/* Use n threads; returns the number in force. */
int32_t bnn_threads(int32_t n);

/* What calls with other schedules may read as something else, or leave something else in: cleared
 * after the buffers are filled, and before the digest.
 */
void bnn_clear_inputs(void **buffers);
void bnn_clear_outputs(void **buffers);

/* One call on the buffers, in order and aligned to 64 bytes; returns 0. */
int32_t bnn_call(void **buffers);

#endif
