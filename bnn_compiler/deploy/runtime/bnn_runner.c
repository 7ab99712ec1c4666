/* Runs some steps of a network for emulate.py, in a process of their own.
 *
 * stdin: int64 first, last, threads, number of inputs, number of outputs, the bytes of each input,
 * of each output and of the workspace; then all these bytes, in that order.
 * stdout: the bytes of the outputs and of the workspace after the steps.
 * BNN_RUN_STEPS and BNN_SET_THREADS are the network's functions.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TENSORS 64
#define ALIGN 64

int32_t BNN_RUN_STEPS(const void *const *inputs, void *const *outputs, void *workspace,
                      int32_t first, int32_t last, double *seconds);
int32_t BNN_SET_THREADS(int32_t n);

static int fail(const char *why) {
  fprintf(stderr, "runner: %s\n", why);
  return 1;
}

int main(void) {
  int64_t head[5], bytes[2 * TENSORS + 1];
  if (fread(head, sizeof head, 1, stdin) != 1) return fail("no request");
  size_t ins = (size_t)head[3], outs = (size_t)head[4], count = ins + outs + 1;
  if (ins > TENSORS || outs > TENSORS) return fail("too many tensors");
  if (fread(bytes, sizeof *bytes, count, stdin) != count) return fail("no sizes");
  void *data[2 * TENSORS + 1];
  for (size_t i = 0; i < count; ++i) {
    size_t size = (size_t)bytes[i];
    data[i] = aligned_alloc(ALIGN, (size + ALIGN) / ALIGN * ALIGN);
    if (!data[i]) return fail("out of memory");
    if (fread(data[i], 1, size, stdin) != size) return fail("a tensor is short");
  }
  BNN_SET_THREADS((int32_t)head[2]);
  if (BNN_RUN_STEPS((const void *const *)data, data + ins, data[count - 1], (int32_t)head[0],
                    (int32_t)head[1], NULL))
    return fail("a kernel failed");
  for (size_t i = ins; i < count; ++i)
    if (fwrite(data[i], 1, (size_t)bytes[i], stdout) != (size_t)bytes[i]) return fail("no output");
  return 0;
}
