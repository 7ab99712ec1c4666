/* Runs some steps of a network for emulate.py, in a process of their own.
 *
 * stdin: the SHA-256 of the network's manifest; int64 first, last, threads; then the bytes of each
 * input, of each output and of the workspace, as many as the network itself says.
 * stdout: the bytes of the outputs and of the workspace after the steps.
 * BNN_RUN_STEPS, BNN_SET_THREADS and BNN_INFO are the network's.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS 64
#define ALIGN 64

extern const struct {
  unsigned char manifest[32];
  int64_t workspace, steps, inputs, outputs, bytes[];
} BNN_INFO;
int32_t BNN_RUN_STEPS(const void *const *inputs, void *const *outputs, void *workspace,
                      int32_t first, int32_t last, double *seconds);
int32_t BNN_SET_THREADS(int32_t n);

static int fail(const char *why) {
  fprintf(stderr, "runner: %s\n", why);
  return 1;
}

int main(void) {
  unsigned char manifest[sizeof BNN_INFO.manifest];
  int64_t head[3];
  if (fread(manifest, sizeof manifest, 1, stdin) != 1 || fread(head, sizeof head, 1, stdin) != 1)
    return fail("no request");
  if (memcmp(manifest, BNN_INFO.manifest, sizeof manifest)) return fail("another manifest");
  if (head[0] < 0 || head[0] > head[1] || head[1] > BNN_INFO.steps) return fail("no such steps");
  if (BNN_INFO.inputs > TENSORS || BNN_INFO.outputs > TENSORS) return fail("too many tensors");
  size_t ins = (size_t)BNN_INFO.inputs, count = ins + (size_t)BNN_INFO.outputs + 1;
  void *data[2 * TENSORS + 1];
  size_t size[2 * TENSORS + 1];
  for (size_t i = 0; i < count; ++i) {
    size[i] = (size_t)(i == count - 1 ? BNN_INFO.workspace : BNN_INFO.bytes[i]);
    data[i] = aligned_alloc(ALIGN, (size[i] + ALIGN) / ALIGN * ALIGN);
    if (!data[i]) return fail("out of memory");
    if (fread(data[i], 1, size[i], stdin) != size[i]) return fail("a tensor is short");
  }
  if (fgetc(stdin) != EOF) return fail("more than the tensors");
  BNN_SET_THREADS((int32_t)head[2]);
  if (BNN_RUN_STEPS((const void *const *)data, data + ins, data[count - 1], (int32_t)head[0],
                    (int32_t)head[1], NULL))
    return fail("a kernel failed");
  for (size_t i = ins; i < count; ++i)
    if (fwrite(data[i], 1, size[i], stdout) != size[i]) return fail("no output");
  return 0;
}
