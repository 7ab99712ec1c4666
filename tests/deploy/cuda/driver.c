/* A CUDA driver without a GPU, for tests: libcuda.so.1 that checks every call, runs kernels' CPU
 * forms, and fails at a call that the test names.
 */
#include "driver.h"

#ifndef DEVICES
#define DEVICES 2
#endif

struct object *objects;
struct launch *launches;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct { long devices, version, sm, memory, fail_at, fail_with; } set = {DEVICES, 13000, 90, 1L << 33, 0, 0};
static long calls;
static const char *failed = "";
static char violations[1 << 16];
static char *device_memory;
static uint64_t device_top;
static struct object *primary[8], *default_stream[2];
static _Thread_local struct object *stack[16], *capturing;
static _Thread_local int depth;

void violation(const char *format, ...) {
  size_t used = strlen(violations);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(violations + used, sizeof violations - used - 2, format, arguments);
  va_end(arguments);
  strcat(violations, "\n");
}

static void unlock(int *held) { (void)held, pthread_mutex_unlock(&lock); }
#define LOCKED                                            \
  pthread_mutex_lock(&lock);                              \
  __attribute__((cleanup(unlock), unused)) int held = 0

/* Whether this is the call that has to fail. */
static int fails(const char *name) {
  if (++calls != set.fail_at) return 0;
  failed = name;
  return 1;
}
#define CALL                                              \
  LOCKED;                                                 \
  if (fails(__func__)) return (int)set.fail_with
/* What gives something back does so even when it fails. */
#define CALL_ANYWAY                                       \
  LOCKED;                                                 \
  int result = fails(__func__) ? (int)set.fail_with : 0
#define NEED(condition, code, ...)                        \
  do {                                                    \
    if (!(condition)) {                                   \
      violation(__VA_ARGS__);                             \
      return code;                                        \
    }                                                     \
  } while (0)
#define NEED_CONTEXT NEED(depth && stack[depth - 1]->live, INVALID_CONTEXT, "%s without a context", __func__)
#define NOT_CAPTURING NEED(!capturing, CAPTURE_UNSUPPORTED, "%s in a capture", __func__)
#define NEED_LIVE(o, k) NEED((o) && (o)->kind == k && (o)->live, INVALID_HANDLE, "%s of what is no live " #k, __func__)

static struct object *make(enum kind kind) {
  struct object *o = calloc(1, sizeof *o);
  o->kind = kind, o->live = 1, o->next = objects;
  o->context = depth ? stack[depth - 1] : NULL;
  o->device = depth ? stack[depth - 1]->device : 0;
  return objects = o;
}

static struct object *stream_of(void *handle) {
  uintptr_t number = (uintptr_t)handle;
  if (number > 2) return handle;
  struct object **found = &default_stream[number == 2];
  if (!*found) *found = make(STREAM), (*found)->context = NULL;
  return *found;
}

static int enqueue(void *handle, struct op *op) {
  struct object *stream = stream_of(handle);
  NEED_LIVE(stream, STREAM);
  NEED(!stream->context || stream->context == stack[depth - 1], INVALID_CONTEXT, "a stream of another context");
  if (stream->capture) {
    NEED(op->what == LAUNCH, CAPTURE_UNSUPPORTED, "a capture of something else than kernels");
    add_op(&stream->capture->first, &stream->capture->last, op);
  } else {
    add_op(&stream->first, &stream->last, op);
  }
  return 0;
}

/* ---- what tests call */

void stub_set(const char *key, long value) {
  long *fields[] = {&set.devices, &set.version, &set.sm, &set.memory, &set.fail_with};
  const char *names[] = {"devices", "version", "sm", "memory", "fail_with"};
  for (int i = 0; i < 5; ++i) if (!strcmp(key, names[i])) *fields[i] = value;
}
/* Fail at the n-th call from now on; 0 is never. */
void stub_fail(long n) { set.fail_at = n ? calls + n : 0; set.fail_with = set.fail_with ? set.fail_with : UNKNOWN; }
long stub_calls(void) { return calls; }
/* The call that failed last. */
const char *stub_failed(void) { return failed; }
int stub_kernels_run(void) { return kernels_run; }
int stub_early(void) { return early_launches; }
const char *stub_violations(void) { return violations; }
long stub_live(void) {
  long found = 0;
  for (struct object *o = objects; o; o = o->next)
    found += o->live && o->kind != FUNCTION && !(o->kind == STREAM && !o->context) && (o->kind != CONTEXT || o->retained);
  return found;
}
long stub_pending(void) {
  long found = 0;
  for (struct object *o = objects; o; o = o->next)
    if (o->kind == STREAM) for (struct op *op = o->first; op; op = op->next) ++found;
  return found;
}
/* Lines of: the CUDA function's name, the kernel's symbol, grid, block, shared bytes, milliseconds, number of parameters, then order, bytes
 * and alignment of each; a library with symbol_cpu. 0 is success. */
int stub_kernels(const char *library, const char *table) {
  void *code = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  FILE *file = fopen(table, "r");
  if (!code || !file) return -1;
  char symbol[256];
  for (struct launch l = {0}; fscanf(file, "%255s %255s %u %u %u %u %u %u %u %lf %d", l.symbol, symbol, l.grid, l.grid + 1, l.grid + 2, l.block, l.block + 1, l.block + 2, &l.shared, &l.ms, &l.count) == 11;) {
    char name[300];
    for (int i = 0; i < l.count; ++i)
      if (fscanf(file, "%d %lu %lu", &l.order[i], &l.bytes[i], &l.align[i]) != 3) return -2;
    snprintf(name, sizeof name, "%s_cpu", symbol);
    void *found = dlsym(code, name);
    if (!found) return -3;
    memcpy(&l.cpu, &found, sizeof found);
    l.next = launches;
    launches = malloc(sizeof l);
    *launches = l;
  }
  return fclose(file);
}
void *stub_context(int device) {
  struct object *o = make(CONTEXT);
  o->device = device;
  return o;
}

/* ---- the driver: devices and contexts */

/* A process that knows nothing of the stub names its kernels in the environment; it ends with 99 if it did something wrong. */
static int by_environment(void) {
  const char *library = getenv("STUB_KERNELS"), *sm = getenv("STUB_SM");
  if (sm) set.sm = atol(sm);
  return library && !launches ? stub_kernels(library, getenv("STUB_LAUNCHES")) : 0;
}
__attribute__((destructor)) static void at_the_end(void) {
  if (!getenv("STUB_KERNELS") || !*violations) return;
  fputs(violations, stderr);
  _exit(99);
}

int cuInit(unsigned flags) { CALL; if (by_environment()) return INVALID_VALUE; return flags ? INVALID_VALUE : set.devices ? 0 : NO_DEVICE; }
int cuDriverGetVersion(int *version) { LOCKED; *version = (int)set.version; return 0; }
int cuGetErrorName(int code, const char **name) { *name = code == UNKNOWN ? "CUDA_ERROR_UNKNOWN" : code == UNSUPPORTED_PTX ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" : "CUDA_ERROR_OF_THE_STUB"; return 0; }
int cuDeviceGetCount(int *count) { CALL; *count = (int)set.devices; return 0; }
int cuDeviceGet(int *device, int ordinal) { CALL; *device = ordinal; return ordinal < set.devices ? 0 : INVALID_DEVICE; }
int cuDeviceGetName(char *name, int n, int device) { LOCKED; snprintf(name, (size_t)n, "Stub %d", device); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  CALL;
  NEED(attribute == 75 || attribute == 76, INVALID_VALUE, "attribute %d of device %d", attribute, device);
  *value = (int)(attribute == 75 ? set.sm / 10 : set.sm % 10);
  return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  CALL;
  if (!primary[device]) primary[device] = make(CONTEXT), primary[device]->device = device, primary[device]->primary = 1;
  primary[device]->live = 1;
  ++primary[device]->retained;
  *context = primary[device];
  return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) {
  CALL_ANYWAY;
  struct object *context = primary[device];
  NEED(context && context->retained, INVALID_CONTEXT, "a release of what was not retained");
  if (--context->retained) return result;
  for (struct object *o = objects; o; o = o->next)
    if (o->live && o->context == context && o->kind != FUNCTION && o->kind != CONTEXT) violation("a %d is left in a context that goes", o->kind);
  return result;
}
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { CALL; *flags = 0; *active = primary[device] && primary[device]->retained; return 0; }
int cuCtxGetCurrent(void **context) { CALL; *context = depth ? stack[depth - 1] : NULL; return 0; }
int cuCtxGetDevice(int *device) { CALL; NEED_CONTEXT; *device = stack[depth - 1]->device; return 0; }
int cuCtxPushCurrent_v2(struct object *context) {
  CALL;
  NEED_LIVE(context, CONTEXT);
  NEED(depth < 16, INVALID_CONTEXT, "contexts are pushed and not popped");
  stack[depth++] = context;
  return 0;
}
int cuCtxPopCurrent_v2(void **context) { CALL_ANYWAY; NEED_CONTEXT; *context = stack[--depth]; return result; }
int cuCtxSetCurrent(struct object *context) {
  CALL;
  NEED_LIVE(context, CONTEXT);
  if (!depth) depth = 1;
  stack[depth - 1] = context;
  return 0;
}
int cuCtxSynchronize(void) { CALL; NEED_CONTEXT; NOT_CAPTURING; run_everything(); return 0; }
long stub_depth(void) { return depth; }

/* ---- code */

int cuModuleLoadDataEx(void **module, const char *image, unsigned n, void *options, void **values) {
  int version = 0, later = 0;
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  (void)options, (void)values;
  NEED(n == 0, INVALID_VALUE, "options of a module");
  if (!memcmp(image, "\177ELF", 4)) version = (int)set.sm;
  else if (sscanf(image, "CUBIN sm_%d", &version) != 1) {
    const char *target = strstr(image, ".target sm_");
    if (!target) return INVALID_IMAGE;
    version = atoi(target + 11), later = 1;
    if (set.version < 13000) return UNSUPPORTED_PTX;
  }
  /* A GPU that takes no code of its family. */
  if (!later && set.sm == 91) return NO_BINARY;
  if (later ? version > set.sm : version / 10 != set.sm / 10 || version > set.sm) return NO_BINARY;
  struct object *o = make(MODULE);
  o->version = version;
  *module = o;
  return 0;
}
int cuModuleUnload(struct object *module) {
  CALL_ANYWAY; NEED_CONTEXT;
  NEED_LIVE(module, MODULE);
  module->live = 0;
  for (struct object *o = objects; o; o = o->next) if (o->kind == FUNCTION && o->parent == module) o->live = 0;
  return result;
}
int cuModuleGetFunction(void **function, struct object *module, const char *symbol) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(module, MODULE);
  for (struct launch *l = launches; l; l = l->next) {
    if (strcmp(l->symbol, symbol)) continue;
    struct object *o = make(FUNCTION);
    o->launch = l, o->parent = module;
    *function = o;
    return 0;
  }
  return NOT_FOUND;
}
int cuFuncSetAttribute(struct object *function, int attribute, int value) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(function, FUNCTION);
  NEED(attribute == 8 && value == (int)function->launch->shared, INVALID_VALUE, "attribute %d of a function", attribute);
  function->retained = value;
  return 0;
}

/* ---- memory */

int cuMemAlloc_v2(address *at, size_t bytes) {
  uint64_t used = 0;
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  NEED(bytes, INVALID_VALUE, "an allocation of nothing");
  for (struct object *o = objects; o; o = o->next) used += o->kind == MEMORY && o->live ? o->bytes : 0;
  if (used + bytes > (uint64_t)set.memory) return OUT_OF_MEMORY;
  if (!device_memory) device_memory = mmap(NULL, 1ull << 38, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  struct object *o = make(MEMORY);
  o->at = (address)(uintptr_t)device_memory + device_top;
  device_top += (bytes + 8191) / 4096 * 4096;
  o->bytes = bytes;
  o->host = aligned_alloc(GUARD, (bytes + 3 * GUARD) / GUARD * GUARD);
  memset(o->host, 0xA5, (bytes + 3 * GUARD) / GUARD * GUARD);
  *at = o->at;
  return 0;
}
int cuMemFree_v2(address at) {
  CALL_ANYWAY; NEED_CONTEXT; NOT_CAPTURING;
  struct object *memory = memory_of(at, 1);
  NEED(memory && memory->at == at, INVALID_VALUE, "cuMemFree of what is not memory");
  for (struct object *o = objects; o; o = o->next)
    if (o->kind == STREAM) for (struct op *op = o->first; op; op = op->next)
      if (touches(op, memory)) violation("memory is freed under a run");
  run_everything();
  check_guards();
  memory->live = 0;
  free(memory->host);
  return result;
}
int cuMemcpyHtoD_v2(address to, const void *from, size_t bytes) {
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  run_stream(stream_of(NULL), NULL, 0);
  if (!reach(to, bytes, __func__)) return INVALID_VALUE;
  /* Of ordinary host memory: it has been read then, but is not there yet, and no stream that waits for no other waits for it. */
  void *staged = memcpy(malloc(bytes), from, bytes);
  return enqueue(NULL, &(struct op){.what = COPY_IN, .to = to, .from = (address)(uintptr_t)staged, .bytes = bytes});
}
int cuMemcpyDtoH_v2(void *to, address from, size_t bytes) {
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  run_stream(stream_of(NULL), NULL, 0);
  void *at = reach(from, bytes, __func__);
  return at ? (memcpy(to, at, bytes), 0) : INVALID_VALUE;
}
int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t bytes, void *stream) {
  CALL; NEED_CONTEXT;
  return enqueue(stream, &(struct op){.what = COPY_IN, .to = to, .from = (address)(uintptr_t)from, .bytes = bytes});
}
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t bytes, void *stream) {
  CALL; NEED_CONTEXT;
  return enqueue(stream, &(struct op){.what = COPY_OUT, .to = (address)(uintptr_t)to, .from = from, .bytes = bytes});
}
int cuMemsetD8Async(address to, unsigned char value, size_t bytes, void *stream) {
  CALL; NEED_CONTEXT;
  return enqueue(stream, &(struct op){.what = SET_BYTES, .to = to, .value = value, .bytes = bytes});
}
int cuMemsetD2D32Async(address to, size_t pitch, unsigned value, size_t width, size_t height, void *stream) {
  CALL; NEED_CONTEXT;
  NEED(to % 4 == 0 && pitch % 4 == 0 && pitch >= 4 * width, INVALID_VALUE, "cuMemsetD2D32 of rows of %zu bytes", pitch);
  return enqueue(stream, &(struct op){.what = SET_WORDS, .to = to, .pitch = pitch, .value = value, .width = width, .height = height});
}
int cuPointerGetAttribute(void *value, int attribute, address at) {
  CALL; NEED_CONTEXT;
  struct object *memory = memory_of(at, 1);
  if (!memory) return INVALID_VALUE;
  NEED(attribute == 2 || attribute == 9, INVALID_VALUE, "attribute %d of a pointer", attribute);
  *(int *)value = attribute == 2 ? 2 : memory->device;
  return 0;
}

/* ---- streams and events */

int cuStreamCreate(void **stream, unsigned flags) { CALL; NEED_CONTEXT; NOT_CAPTURING; NEED(flags < 2, INVALID_VALUE, "flags of a stream"); *stream = make(STREAM); return 0; }
int cuStreamDestroy_v2(struct object *stream) { CALL_ANYWAY; NEED_CONTEXT; NEED_LIVE(stream, STREAM); run_stream(stream, NULL, 0); stream->live = 0; return result; }
int cuStreamSynchronize(void *handle) {
  CALL_ANYWAY; NEED_CONTEXT; NOT_CAPTURING;
  struct object *stream = stream_of(handle);
  NEED_LIVE(stream, STREAM);
  run_stream(stream, NULL, 0);
  return result;
}
int cuStreamWaitEvent(void *handle, struct object *event, unsigned flags) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(event, EVENT);
  NEED(!flags, INVALID_VALUE, "flags of a wait");
  return event->ticket ? enqueue(handle, &(struct op){.what = WAIT, .event = event, .ticket = event->ticket}) : 0;
}
int cuStreamIsCapturing(void *handle, int *status) { CALL; NEED_CONTEXT; struct object *s = stream_of(handle); NEED_LIVE(s, STREAM); *status = s->capture != NULL; return 0; }
int cuStreamBeginCapture_v2(struct object *stream, int mode) {
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  NEED((uintptr_t)stream > 2, CAPTURE_UNSUPPORTED, "a capture of CUDA's default stream");
  NEED_LIVE(stream, STREAM);
  NEED(mode == 1, INVALID_VALUE, "a capture that other threads feel");
  capturing = stream;
  stream->capture = make(GRAPH);
  stream->capture->live = 0;
  return 0;
}
int cuStreamEndCapture(struct object *stream, void **graph) {
  CALL_ANYWAY; NEED_CONTEXT;
  NEED(capturing == stream && stream->capture, INVALID_HANDLE, "an end of no capture");
  stream->capture->live = !result;
  *graph = result ? NULL : stream->capture;
  capturing = stream->capture = NULL;
  return result;
}
int cuEventCreate(void **event, unsigned flags) { CALL; NEED_CONTEXT; NOT_CAPTURING; NEED(flags == 0 || flags == 2, INVALID_VALUE, "flags of an event"); *event = make(EVENT); return 0; }
int cuEventDestroy_v2(struct object *event) { CALL_ANYWAY; NEED_CONTEXT; NEED_LIVE(event, EVENT); event->live = 0; return result; }
int cuEventRecord(struct object *event, void *handle) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(event, EVENT);
  struct object *stream = stream_of(handle);
  ++event->ticket;
  event->recorded[event->ticket % 1024] = stream;
  return enqueue(handle, &(struct op){.what = RECORD, .event = event, .ticket = event->ticket});
}
int cuEventSynchronize(struct object *event) {
  CALL_ANYWAY; NEED_CONTEXT; NOT_CAPTURING;
  NEED_LIVE(event, EVENT);
  if (event->ticket > event->done) run_stream(event->recorded[event->ticket % 1024], event, event->ticket);
  return result;
}
int cuEventElapsedTime(float *ms, struct object *a, struct object *b) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(a, EVENT);
  NEED_LIVE(b, EVENT);
  if (a->done < a->ticket || b->done < b->ticket || !b->ticket) return NOT_READY;
  *ms = (float)(b->time[b->done % 1024] - a->time[a->done % 1024]);
  return 0;
}

/* ---- kernels and graphs */

int cuGraphInstantiateWithFlags(void **exec, struct object *graph, unsigned long long flags) {
  CALL; NEED_CONTEXT; NOT_CAPTURING;
  NEED_LIVE(graph, GRAPH);
  NEED(!flags, INVALID_VALUE, "flags of a graph");
  struct object *o = make(EXEC);
  for (struct op *op = graph->first; op; op = op->next) add_op(&o->first, &o->last, op);
  *exec = o;
  return 0;
}
int cuGraphDestroy(struct object *graph) { CALL_ANYWAY; NEED_LIVE(graph, GRAPH); graph->live = 0; return result; }
int cuGraphExecDestroy(struct object *exec) { CALL_ANYWAY; NEED_LIVE(exec, EXEC); exec->live = 0; return result; }
int cuGraphLaunch(struct object *exec, void *stream) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(exec, EXEC);
  for (struct op *op = exec->first; op; op = op->next) {
    int result = enqueue(stream, op);
    if (result) return result;
  }
  return 0;
}

struct config {
  unsigned grid[3], block[3], shared;
  void *stream;
  struct { int id; char pad[4]; int allowed; char rest[60]; } *attributes;
  unsigned count;
};

int cuLaunchKernelEx(const struct config *c, struct object *function, void **parameters, void **extra) {
  CALL; NEED_CONTEXT;
  NEED_LIVE(function, FUNCTION);
  struct launch *l = function->launch;
  NEED(function->context == stack[depth - 1], INVALID_CONTEXT, "a kernel of another context");
  NEED(!extra && !memcmp(c->grid, l->grid, sizeof l->grid) && !memcmp(c->block, l->block, sizeof l->block) && c->shared == l->shared, INVALID_VALUE, "%s is launched in another way", l->symbol);
  NEED(l->shared <= 49152 || function->retained == (int)l->shared, INVALID_VALUE, "%s has too much shared memory", l->symbol);
  NEED((uint64_t)l->block[0] * l->block[1] * l->block[2] <= 1024, INVALID_VALUE, "%s has too many threads", l->symbol);
  if (c->count) {
    NEED(c->count == 1 && c->attributes->id == 6 && c->attributes->allowed == 1 && set.sm >= 90, INVALID_VALUE, "attributes of %s", l->symbol);
    ++early_launches;
  }
  struct op op = {.what = LAUNCH, .launch = l};
  for (int i = 0; i < l->count; ++i) op.parameters[i] = *(address *)parameters[i];
  return enqueue(c->stream, &op);
}
