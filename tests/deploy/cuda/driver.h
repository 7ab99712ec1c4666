/* What the two files of the stub driver share. */
#ifndef STUB_H
#define STUB_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long long address;

enum {
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY = 209,
  UNSUPPORTED_PTX = 222,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  CAPTURE_UNSUPPORTED = 900,
  UNKNOWN = 999,
};

enum kind { CONTEXT, MODULE, FUNCTION, STREAM, EVENT, GRAPH, EXEC, MEMORY };

enum { MOST_PARAMETERS = 64, GUARD = 4096 };

/* A kernel as it has to be launched. */
struct launch {
  char symbol[256];
  unsigned grid[3], block[3], shared;
  double ms;
  int count;
  int order[MOST_PARAMETERS];
  uint64_t bytes[MOST_PARAMETERS], align[MOST_PARAMETERS];
  int32_t (*cpu)(void **parameters);
  struct launch *next;
};

enum what { COPY_IN, COPY_OUT, SET_BYTES, SET_WORDS, LAUNCH, RECORD, WAIT };

/* Something in a stream or a graph. */
struct op {
  enum what what;
  address to, from;
  uint64_t bytes, pitch, width, height;
  uint32_t value;
  struct launch *launch;
  address parameters[MOST_PARAMETERS];
  struct object *event;
  uint64_t ticket;
  struct op *next;
};

/* Anything that has a handle; none is ever freed, so that a dead one is known as such. */
struct object {
  enum kind kind;
  int live, device, primary, retained;
  struct object *context, *parent;
  struct op *first, *last;   /* of a stream or a graph */
  struct object *capture;    /* of a stream: the graph */
  int version;               /* of a module */
  struct launch *launch;     /* of a function */
  uint64_t ticket, done;     /* of an event */
  struct object *recorded[1024];
  double time[1024];
  address at;                /* of memory */
  uint64_t bytes;
  unsigned char *host;
  struct object *next;
};

extern struct object *objects;
extern struct launch *launches;
extern int kernels_run, early_launches;

__attribute__((format(printf, 1, 2))) void violation(const char *format, ...);
struct object *memory_of(address at, uint64_t bytes);
void *reach(address at, uint64_t bytes, const char *who);
void add_op(struct op **first, struct op **last, struct op *op);
void run_stream(struct object *stream, struct object *until, uint64_t ticket);
void run_everything(void);
int touches(const struct op *op, const struct object *memory);
void check_guards(void);

#endif
