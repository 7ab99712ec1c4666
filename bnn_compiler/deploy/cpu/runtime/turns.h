/* Networks that take turns: turns.c runs them, a generated file defines them. */
#ifndef BNN_TURNS_H
#define BNN_TURNS_H

#include <stdint.h>

typedef int32_t bnn_run(const void *const *inputs, void *const *outputs, void *workspace,
                        int32_t first, int32_t last, double *seconds);

/* A tensor that goes in (floats in [-1, 1), else bytes) or comes out. */
struct bnn_tensor {
  int32_t floats;
  int64_t bytes;
};

struct bnn_network {
  bnn_run *checked, *steps;
  int32_t (*set_threads)(int32_t n);
  int64_t workspace;
  int32_t count, inputs, outputs; /* of steps; tensors are the inputs, then the outputs */
  const struct bnn_tensor *tensors;
};

/* The first is the reference. */
extern const struct bnn_network bnn_networks[];
extern const int32_t bnn_count;
/* Of the programs that are linked in. */
extern const char bnn_id[];
/* Runs in a turn: of the reference, of a network, and of a network with its steps timed. */
extern const int32_t bnn_reference_runs, bnn_runs, bnn_step_runs;

#endif
