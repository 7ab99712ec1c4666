/* The stub's device: memory that the host must not touch, and streams that work only when someone
 * waits for them.
 */
#include "driver.h"

int kernels_run, early_launches;
static double clock_ms;

struct object *memory_of(address at, uint64_t bytes) {
  for (struct object *o = objects; o; o = o->next)
    if (o->kind == MEMORY && o->live && at >= o->at && at + bytes <= o->at + o->bytes) return o;
  return NULL;
}

void *reach(address at, uint64_t bytes, const char *who) {
  struct object *memory = memory_of(at, bytes);
  if (!memory) {
    violation("%s: %llu bytes at %llx are not in memory of the device", who,
              (unsigned long long)bytes, at);
    return NULL;
  }
  return memory->host + GUARD + (at - memory->at);
}

void check_guards(void) {
  for (struct object *o = objects; o; o = o->next) {
    if (o->kind != MEMORY || !o->live) continue;
    for (int i = 0; i < GUARD; ++i)
      if (o->host[i] != 0xA5 || o->host[GUARD + o->bytes + i] != 0xA5) {
        violation("a write beside memory of %llu bytes", (unsigned long long)o->bytes);
        return;
      }
  }
}

void add_op(struct op **first, struct op **last, struct op *op) {
  struct op *added = malloc(sizeof *added);
  *added = *op;
  added->next = NULL;
  if (*first)
    (*last)->next = added;
  else
    *first = added;
  *last = added;
}

int touches(const struct op *op, const struct object *memory) {
  const address start = memory->at, end = memory->at + memory->bytes;
  if (op->what == LAUNCH) {
    for (int i = 0; i < op->launch->count; ++i)
      if (op->parameters[i] >= start && op->parameters[i] < end) return 1;
    return 0;
  }
  return (op->to >= start && op->to < end) || (op->from >= start && op->from < end);
}

static void run_kernel(const struct op *op) {
  void *parameters[MOST_PARAMETERS];
  const struct launch *launch = op->launch;
  for (int i = 0; i < launch->count; ++i) {
    int place = launch->order[i];
    address at = op->parameters[i];
    if (at % launch->align[place])
      violation("%s: parameter %d is not aligned to %d", launch->symbol, place,
                (int)launch->align[place]);
    parameters[place] = reach(at, launch->bytes[place], launch->symbol);
    if (!parameters[place]) return;
  }
  if (launch->cpu(parameters)) violation("%s failed", launch->symbol);
  ++kernels_run;
  check_guards();
}

static void run_op(struct op *op) {
  void *at;
  switch (op->what) {
    case COPY_IN:
      if ((at = reach(op->to, op->bytes, "a copy to the device")))
        memcpy(at, (const void *)(uintptr_t)op->from, op->bytes);
      break;
    case COPY_OUT:
      if ((at = reach(op->from, op->bytes, "a copy to the host")))
        memcpy((void *)(uintptr_t)op->to, at, op->bytes);
      break;
    case SET_BYTES:
      if ((at = reach(op->to, op->bytes, "cuMemsetD8"))) memset(at, (int)op->value, op->bytes);
      break;
    case SET_WORDS:
      for (uint64_t y = 0; y < op->height; ++y) {
        uint32_t *row = reach(op->to + y * op->pitch, 4 * op->width, "cuMemsetD2D32");
        for (uint64_t x = 0; row && x < op->width; ++x) row[x] = op->value;
      }
      break;
    case LAUNCH: run_kernel(op); break;
    case RECORD:
      op->event->done = op->ticket;
      op->event->time[op->ticket % 1024] = clock_ms;
      break;
    case WAIT:
      if (op->event->done < op->ticket)
        run_stream(op->event->recorded[op->ticket % 1024], op->event, op->ticket);
      break;
  }
  clock_ms += op->what == LAUNCH ? op->launch->ms : 0.0;
}

/* Everything in a stream, or what is there up to an event. */
void run_stream(struct object *stream, struct object *until, uint64_t ticket) {
  while (stream->first && !(until && until->done >= ticket)) {
    struct op *op = stream->first;
    stream->first = op->next;
    run_op(op);
    free(op);
  }
}

void run_everything(void) {
  for (struct object *o = objects; o; o = o->next)
    if (o->kind == STREAM) run_stream(o, NULL, 0);
}
