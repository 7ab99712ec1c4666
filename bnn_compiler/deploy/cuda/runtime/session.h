/* One arena on the GPU with a copy of the host's inputs and outputs behind it, and its runs. */
#ifndef BNN_SESSION_H
#define BNN_SESSION_H

#include "network.h"

enum { TENSORS = INPUTS + OUTPUTS, PLANS = 4 };

/* The calls of a run with tensors at these places, and, from the second time on, their graph: what
 * PyTorch's allocator hands out in a loop are two or three places in turn. */
struct plan {
  CUdeviceptr places[TENSORS];
  CUgraphExec graph;
  uint64_t used; /* when, by ``runs``; 0 is never */
};

struct bnn_session {
  struct bnn_network *network;
  CUdeviceptr memory;
  CUstream stream;
  CUevent ended; /* of the last run, where ``pending``: the next one waits for it */
  int pending;
  uint64_t runs;
  struct plan plans[PLANS];
};

static CUdeviceptr copy_of(const struct bnn_session *s, int tensor) {
  return s->memory + copies[tensor];
}

static int32_t start_workspace(struct bnn_session *s) {
  int32_t code;
  TRY(cuMemsetD8Async, s->memory, 0, MEMORY_BYTES, s->stream);
  for (int i = 0; i < FILLS; ++i) {
    const struct fill *f = &fills[i];
    for (uint32_t k = 0; k < f->words; ++k)
      TRY(cuMemsetD2D32Async, s->memory + f->offset + 4 * k, 4 * (size_t)f->words,
          k + 1 < f->words ? f->value : f->last, 1, f->pixels, s->stream);
  }
  TRY(cuStreamSynchronize, s->stream);
done:
  return code;
}

int32_t BNN(start)(struct bnn_network *network, struct bnn_session **started) {
  *started = NULL;
  struct bnn_session *s = calloc(1, sizeof *s);
  if (!s) return fail(BNN_NO_MEMORY, "this machine is out of memory");
  s->network = network;
  int32_t code = enter(network);
  if (code) {
    free(s);
    return code;
  }
  CUresult result = cu.cuMemAlloc_v2(&s->memory, MEMORY_BYTES);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    code = fail(BNN_NO_MEMORY, "the GPU has no memory for a workspace of %.1f MB",
                MEMORY_BYTES / 1e6);
    goto done;
  }
  if ((code = checked(result, "cuMemAlloc"))) goto done;
  TRY(cuStreamCreate, &s->stream, CU_STREAM_NON_BLOCKING);
  TRY(cuEventCreate, &s->ended, CU_EVENT_DISABLE_TIMING);
  code = start_workspace(s);
done:
  code = leave(code);
  if (code)
    BNN(end)(s);
  else
    *started = s;
  return code;
}

void BNN(end)(struct bnn_session *s) {
  if (!s) return;
  if (!enter(s->network)) {
    if (s->pending) cu.cuEventSynchronize(s->ended);
    if (s->stream) cu.cuStreamSynchronize(s->stream);
    for (int i = 0; i < PLANS; ++i)
      if (s->plans[i].graph) cu.cuGraphExecDestroy(s->plans[i].graph);
    if (s->ended) cu.cuEventDestroy_v2(s->ended);
    if (s->stream) cu.cuStreamDestroy_v2(s->stream);
    if (s->memory) cu.cuMemFree_v2(s->memory);
    leave(BNN_DONE);
  }
  free(s);
}

void *BNN(stream)(struct bnn_session *s) { return s->stream; }

/* A kernel call; ``chained`` behind another of the same run. */
static int32_t launch(const struct bnn_session *s, int index, const CUdeviceptr *places,
                      CUstream stream, int chained) {
  CUdeviceptr values[MOST_ARGUMENTS];
  void *parameters[MOST_ARGUMENTS];
  const struct bnn_network *network = s->network;
  const struct step *step = &steps[index];
  const struct kernel *kernel = &kernels[step->kernel];
  for (int i = 0; i < step->count; ++i) {
    const struct argument *argument = &arguments[step->first + i];
    switch (argument->place) {
      case IN_ARENA: values[i] = s->memory + argument->value; break;
      case IN_WEIGHTS: values[i] = network->weights + argument->value; break;
      case IN_INPUT: values[i] = places[argument->value]; break;
      case IN_OUTPUT: values[i] = places[INPUTS + argument->value]; break;
    }
    parameters[i] = &values[i];
  }
  CUlaunchAttribute early;
  memset(&early, 0, sizeof early);
  early.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  early.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config = {
      .gridDimX = kernel->grid[0], .gridDimY = kernel->grid[1], .gridDimZ = kernel->grid[2],
      .blockDimX = kernel->block[0], .blockDimY = kernel->block[1], .blockDimZ = kernel->block[2],
      .sharedMemBytes = kernel->shared, .hStream = stream, .attrs = &early,
      .numAttrs = chained && kernel->early && network->version >= 90,
  };
  return checked(cu.cuLaunchKernelEx(&config, network->functions[step->kernel], parameters, NULL),
                 kernel->symbol);
}

static int32_t launch_all(const struct bnn_session *s, const CUdeviceptr *places,
                          CUstream stream) {
  for (int i = 0; i < STEPS; ++i) {
    int32_t code = launch(s, i, places, stream, i > 0);
    if (code) return code;
  }
  return BNN_DONE;
}

/* The launches as a graph. */
static int32_t capture(struct bnn_session *s, struct plan *plan) {
  int32_t code;
  CUgraph graph = NULL;
  TRY(cuStreamBeginCapture_v2, s->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  code = launch_all(s, plan->places, s->stream);
  CUresult result = cu.cuStreamEndCapture(s->stream, &graph);
  if (!code) code = checked(result, "cuStreamEndCapture");
  if (!code) code = checked(cu.cuGraphInstantiateWithFlags(&plan->graph, graph, 0),
                            "cuGraphInstantiate");
  if (graph) cu.cuGraphDestroy(graph);
done:
  return code;
}

/* What was run with these places before, or else the plan that was not used for longest, empty. */
static int32_t find_plan(struct bnn_session *s, const CUdeviceptr *places, struct plan **found) {
  int32_t code = BNN_DONE;
  struct plan *oldest = s->plans;
  for (struct plan *p = s->plans; p < s->plans + PLANS; ++p) {
    if (p->used && !memcmp(p->places, places, sizeof p->places)) {
      *found = p;
      return BNN_DONE;
    }
    if (p->used < oldest->used) oldest = p;
  }
  if (oldest->graph) {
    if (s->pending) TRY(cuEventSynchronize, s->ended);
    cu.cuGraphExecDestroy(oldest->graph);
  }
  memset(oldest, 0, sizeof *oldest);
  memcpy(oldest->places, places, sizeof oldest->places);
  *found = oldest;
done:
  return code;
}

/* Where the device finds a tensor; ``on_host`` if that is the copy of one in host memory. */
static int32_t place_of(const struct bnn_session *s, int tensor, const void *at,
                        CUdeviceptr *place, int *on_host) {
  unsigned int type = 0;
  int ordinal = 0;
  CUdeviceptr pointer = (CUdeviceptr)(uintptr_t)at;
  *place = copy_of(s, tensor);
  *on_host = 1;
  /* The driver knows nothing of ordinary host memory. */
  CUresult result = cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pointer);
  if (result == CUDA_ERROR_INVALID_VALUE) return BNN_DONE;
  int32_t code = checked(result, "cuPointerGetAttribute");
  if (code || type != CU_MEMORYTYPE_DEVICE) return code;
  code = checked(cu.cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer),
                 "cuPointerGetAttribute");
  if (!code && ordinal != (int)s->network->device)
    return fail(BNN_WRONG_POINTER, "%s lies on GPU %d, and the network on GPU %d",
                tensors[tensor].name, ordinal, (int)s->network->device);
  *place = pointer;
  *on_host = 0;
  return code;
}

#endif
