/* Runs of a session: whole ones by a graph, and steps one by one. */
#ifndef BNN_RUN_H
#define BNN_RUN_H

#include <time.h>

#include "session.h"

struct ports {
  const void *at[TENSORS];
  CUdeviceptr places[TENSORS];
  int on_host[TENSORS];
  int host; /* whether any is */
};

static int32_t find_ports(const struct bnn_session *s, const void *const *inputs,
                          void *const *outputs, struct ports *ports) {
  int32_t code = BNN_DONE;
  ports->host = 0;
  for (int i = 0; i < TENSORS && !code; ++i) {
    ports->at[i] = i < INPUTS ? inputs[i] : outputs[i - INPUTS];
    code = place_of(s, i, ports->at[i], &ports->places[i], &ports->on_host[i]);
    ports->host |= ports->on_host[i];
  }
  return code;
}

static int32_t upload(const struct ports *p, int tensor, CUstream stream) {
  if (!p->on_host[tensor]) return BNN_DONE;
  return checked(cu.cuMemcpyHtoDAsync_v2(p->places[tensor], p->at[tensor],
                                         (size_t)tensors[tensor].bytes, stream),
                 "cuMemcpyHtoDAsync");
}

static int32_t download(const struct ports *p, int tensor, CUstream stream) {
  if (!p->on_host[tensor]) return BNN_DONE;
  return checked(cu.cuMemcpyDtoHAsync_v2((void *)(uintptr_t)p->at[tensor], p->places[tensor],
                                         (size_t)tensors[tensor].bytes, stream),
                 "cuMemcpyDtoHAsync");
}

/* Whether any of n floats is a NaN. Integers, so that no compiler flag can say there are none. */
static int has_nan(const void *data, uint64_t n) {
  const unsigned char *at = data;
  uint32_t found = 0;
  for (uint64_t i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, at + 4 * i, 4);
    found |= (bits & 0x7FFFFFFFu) > 0x7F800000u;
  }
  return (int)found;
}

static int32_t find_nan(const struct ports *ports) {
  for (int i = 0; i < INPUTS; ++i)
    if (tensors[i].number && ports->on_host[i] && has_nan(ports->at[i], tensors[i].bytes / 4))
      return fail(BNN_HAS_NAN, "%s holds a NaN, which has no sign", tensors[i].name);
  return BNN_DONE;
}

/* The next use of the arena waits for this one. */
static int32_t wait_for_last(struct bnn_session *s, CUstream stream) {
  return s->pending ? checked(cu.cuStreamWaitEvent(stream, s->ended, 0), "cuStreamWaitEvent")
                    : BNN_DONE;
}

/* Once something is in a stream, whether all of it is or not. */
static int32_t note_end(struct bnn_session *s, CUstream stream, int wait, int32_t code) {
  CUresult result;
  if (wait) {
    result = cu.cuStreamSynchronize(stream);
    s->pending = result != CUDA_SUCCESS && s->pending;
    return code ? code : checked(result, "cuStreamSynchronize");
  }
  result = cu.cuEventRecord(s->ended, stream);
  s->pending = 1;
  if (result == CUDA_SUCCESS) return code;
  /* Nothing tells when it ends: wait now. */
  cu.cuStreamSynchronize(stream);
  s->pending = 0;
  return code ? code : checked(result, "cuEventRecord");
}

static int32_t run_graph(struct bnn_session *s, const struct ports *ports, CUstream stream) {
  struct plan *plan;
  int32_t code = find_plan(s, ports->places, &plan);
  if (code) return code;
  int again = plan->used != 0;
  plan->used = ++s->runs;
  if (!again) return launch_all(s, ports->places, stream);
  if (!plan->graph && (code = capture(s, plan))) return code;
  return checked(cu.cuGraphLaunch(plan->graph, stream), "cuGraphLaunch");
}

static int32_t run_in(struct bnn_session *s, const struct ports *ports, CUstream stream) {
  int32_t code;
  CUstreamCaptureStatus capturing = CU_STREAM_CAPTURE_STATUS_NONE;
  TRY(cuStreamIsCapturing, stream, &capturing);
  if (capturing != CU_STREAM_CAPTURE_STATUS_NONE) {
    /* Into a graph of the caller's, who then sees to it that its runs do not overlap. */
    if (ports->host)
      return fail(BNN_WRONG_POINTER, "a run in host memory cannot be captured into a graph: give"
                  " inputs and outputs on the GPU");
    return launch_all(s, ports->places, stream);
  }
  if ((code = wait_for_last(s, stream))) return code;
  for (int i = 0; i < INPUTS && !code; ++i) code = upload(ports, i, stream);
  if (!code) code = run_graph(s, ports, stream);
  for (int i = INPUTS; i < TENSORS && !code; ++i) code = download(ports, i, stream);
  return note_end(s, stream, ports->host, code);
done:
  return code;
}

static int32_t run_whole(struct bnn_session *s, const void *const *inputs, void *const *outputs,
                         void *stream, int check) {
  struct ports ports;
  int32_t code = enter(s->network);
  if (code) return code;
  code = find_ports(s, inputs, outputs, &ports);
  if (!code && check) code = find_nan(&ports);
  if (!code) code = run_in(s, &ports, stream);
  return leave(code);
}

int32_t BNN(run)(struct bnn_session *s, const void *const *inputs, void *const *outputs,
                 void *stream) {
  return run_whole(s, inputs, outputs, stream, 0);
}

int32_t BNN(run_checked)(struct bnn_session *s, const void *const *inputs, void *const *outputs,
                         void *stream) {
  return run_whole(s, inputs, outputs, stream, 1);
}

/* Which tensors some steps touch. */
static void find_touched(int32_t first, int32_t last, int *touched) {
  memset(touched, 0, TENSORS * sizeof *touched);
  for (int32_t i = first; i < last; ++i)
    for (int k = steps[i].first; k < steps[i].first + steps[i].count; ++k) {
      if (arguments[k].place == IN_INPUT) touched[arguments[k].value] = 1;
      if (arguments[k].place == IN_OUTPUT) touched[INPUTS + arguments[k].value] = 1;
    }
}

/* Launch steps one by one, with an event before each and after the last if there are any. */
static int32_t launch_steps(struct bnn_session *s, const struct ports *ports, int32_t first,
                            int32_t last, CUevent *events) {
  int32_t code = BNN_DONE;
  for (int32_t i = first; i < last; ++i) {
    if (events) TRY(cuEventRecord, events[i - first], s->stream);
    if ((code = launch(s, i, ports->places, s->stream, 0))) return code;
  }
  if (events) TRY(cuEventRecord, events[last - first], s->stream);
done:
  return code;
}

static int32_t add_seconds(int32_t count, CUevent *events, double *seconds) {
  int32_t code = BNN_DONE;
  for (int32_t i = 0; i < count; ++i) {
    float milliseconds = 0;
    TRY(cuEventElapsedTime, &milliseconds, events[i], events[i + 1]);
    seconds[i] += 1e-3 * (double)milliseconds;
  }
done:
  return code;
}

static int32_t run_some(struct bnn_session *s, const struct ports *ports, int32_t first,
                        int32_t last, CUevent *events, double *seconds) {
  int touched[TENSORS];
  find_touched(first, last, touched);
  int32_t code = wait_for_last(s, s->stream);
  if (code) return code;
  /* An output can be read by a later step. */
  for (int i = 0; i < TENSORS && !code; ++i)
    if (touched[i]) code = upload(ports, i, s->stream);
  if (!code) code = launch_steps(s, ports, first, last, events);
  for (int i = INPUTS; i < TENSORS && !code; ++i)
    if (touched[i]) code = download(ports, i, s->stream);
  code = note_end(s, s->stream, 1, code);
  return !code && events ? add_seconds(last - first, events, seconds + first) : code;
}

int32_t BNN(run_steps)(struct bnn_session *s, const void *const *inputs, void *const *outputs,
                       int32_t first, int32_t last, double *seconds) {
  struct ports ports;
  CUevent events[STEPS + 1] = {NULL};
  if (first < 0 || last > STEPS || first > last)
    return fail(BNN_FAILED, "there are no steps %d to %d", (int)first, (int)last);
  int32_t code = enter(s->network);
  if (code) return code;
  code = find_ports(s, inputs, outputs, &ports);
  for (int32_t i = 0; seconds && i <= last - first && !code; ++i)
    code = checked(cu.cuEventCreate(&events[i], CU_EVENT_DEFAULT), "cuEventCreate");
  if (!code) code = run_some(s, &ports, first, last, seconds ? events : NULL, seconds);
  for (int32_t i = 0; i <= last - first; ++i)
    if (events[i]) cu.cuEventDestroy_v2(events[i]);
  return leave(code);
}

/* Copy between the workspace and the host's memory. */
int32_t BNN(read)(struct bnn_session *s, uint64_t offset, uint64_t bytes, void *to) {
  if (offset > ARENA_BYTES || bytes > ARENA_BYTES - offset)
    return fail(BNN_FAILED, "the workspace ends before that");
  int32_t code = enter(s->network);
  if (code) return code;
  if ((code = wait_for_last(s, s->stream))) goto done;
  TRY(cuMemcpyDtoHAsync_v2, to, s->memory + offset, (size_t)bytes, s->stream);
  TRY(cuStreamSynchronize, s->stream);
  s->pending = 0;
done:
  return leave(code);
}

int32_t BNN(write)(struct bnn_session *s, uint64_t offset, uint64_t bytes, const void *from) {
  if (offset > ARENA_BYTES || bytes > ARENA_BYTES - offset)
    return fail(BNN_FAILED, "the workspace ends before that");
  int32_t code = enter(s->network);
  if (code) return code;
  if ((code = wait_for_last(s, s->stream))) goto done;
  TRY(cuMemcpyHtoDAsync_v2, s->memory + offset, from, (size_t)bytes, s->stream);
  TRY(cuStreamSynchronize, s->stream);
  s->pending = 0;
done:
  return leave(code);
}

/* Wait until all runs of the session have ended. */
int32_t BNN(wait)(struct bnn_session *s) {
  int32_t code = enter(s->network);
  if (code) return code;
  if (s->pending) TRY(cuEventSynchronize, s->ended);
  s->pending = 0;
done:
  return leave(code);
}

#endif
