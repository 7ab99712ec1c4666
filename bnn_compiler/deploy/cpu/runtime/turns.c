/* Times networks in turns with a reference network and prints one line of JSON:
 *
 *   PROGRAM CONSTANTS ROUNDS MICROSECONDS LIMIT THREADS
 *
 * These are the arguments of trial.c; CONSTANTS and MICROSECONDS say nothing here. Every other
 * round goes through the networks backwards, each behind the reference, as latency/timing.py does
 * it. For each round and network, in order, "seconds" are the least of the reference, the least of
 * the network, and its steps in the fastest of the runs that timed them. The name is the id, a
 * blank, and what the machine calls itself. After LIMIT seconds it ends itself by SIGALRM.
 */
#define _GNU_SOURCE
#include "turns.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "timing.h"

enum { ALIGN = 64, NAME = 96 };

/* A network with memory of its own. */
struct subject {
  const struct bnn_network *network;
  void **tensors, *workspace;
  double *fastest, *once;
};

static void *memory(int64_t bytes) {
  size_t size = ((size_t)bytes + ALIGN) / ALIGN * ALIGN;
  void *p = aligned_alloc(ALIGN, size);
  if (!p) fail("out of memory");
  return memset(p, 0, size);
}

static struct subject prepare(const struct bnn_network *network, int threads) {
  struct subject s = {network, NULL, memory(network->workspace), NULL, NULL};
  int32_t all = network->inputs + network->outputs;
  uint64_t state = 1;
  s.tensors = memory((int64_t)sizeof(void *) * all);
  s.fastest = memory((int64_t)sizeof(double) * network->count);
  s.once = memory((int64_t)sizeof(double) * network->count);
  for (int32_t i = 0; i < all; ++i) {
    const struct bnn_tensor *t = &network->tensors[i];
    s.tensors[i] = memory(t->bytes);
    if (i >= network->inputs) continue;
    for (int64_t k = 0; t->floats && k < t->bytes / 4; ++k)
      ((float *)s.tensors[i])[k] = next_float(&state);
    for (int64_t k = 0; !t->floats && k < t->bytes; ++k)
      ((uint8_t *)s.tensors[i])[k] = (uint8_t)(next(&state) >> 56);
  }
  network->set_threads(threads);
  return s;
}

static double run(const struct subject *s, bnn_run *how, double *seconds) {
  void **outputs = s->tensors + s->network->inputs;
  double start = now();
  if (how((const void *const *)s->tensors, outputs, s->workspace, 0, s->network->count, seconds))
    fail("the code returned an error");
  return now() - start;
}

/* The least seconds of ``runs``, after one that finds another network in the caches. */
static double fastest(const struct subject *s, int runs) {
  double least = 0;
  for (int i = -1; i < runs; ++i) {
    double seconds = run(s, s->network->checked, NULL);
    if (i == 0 || (i > 0 && seconds < least)) least = seconds;
  }
  return least;
}

/* The steps of the fastest of ``runs``. */
static void steps(struct subject *s, int runs) {
  double least = 0;
  for (int i = 0; i < runs; ++i) {
    double sum = 0;
    memset(s->once, 0, sizeof(double) * (size_t)s->network->count);
    run(s, s->network->steps, s->once);
    for (int32_t k = 0; k < s->network->count; ++k) sum += s->once[k];
    if (i && sum >= least) continue;
    least = sum;
    memcpy(s->fastest, s->once, sizeof(double) * (size_t)s->network->count);
  }
}

/* Copy what can stand in the line of JSON. */
static size_t plain(char *to, const char *from) {
  size_t used = 0;
  for (; *from && *from != '\n' && used < NAME - 1; ++from)
    if (strchr(" ._()@/-", *from) || (*from >= '0' && *from <= '9') ||
        ((*from | 32) >= 'a' && (*from | 32) <= 'z'))
      to[used++] = *from;
  to[used] = 0;
  return used;
}

/* What this machine calls itself: the board, else the CPU, else the architecture. */
static void call(char *name) {
  char line[512] = {0};
  FILE *file = fopen("/proc/device-tree/model", "r");
  if (file) {
    size_t got = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    if (got && plain(name, line)) return;
  }
  file = fopen("/proc/cpuinfo", "r");
  while (file && fgets(line, sizeof line, file)) {
    const char *value = strncmp(line, "model name", 10) ? NULL : strchr(line, ':');
    if (value && plain(name, value + 1 + (value[1] == ' '))) {
      fclose(file);
      return;
    }
  }
  if (file) fclose(file);
  struct utsname machine;
  uname(&machine);
  plain(name, machine.machine);
}

int main(int argc, char **argv) {
  if (argc != 6) fail("usage: PROGRAM CONSTANTS ROUNDS MICROSECONDS LIMIT THREADS");
  int rounds = atoi(argv[2]), threads = atoi(argv[5]);
  alarm((unsigned)atoi(argv[4]));
  if (threads == 1) {
    const struct sched_param first = {1};
    pin();
    /* Before others on that core, if the system allows it. */
    sched_setscheduler(0, SCHED_FIFO, &first);
  }
  char name[NAME];
  call(name);
  struct subject *all = memory((int64_t)sizeof *all * bnn_count);
  for (int32_t i = 0; i < bnn_count; ++i) all[i] = prepare(&bnn_networks[i], threads);
  /* Where a network's times of a round begin; the last is their number. */
  int32_t *begin = memory((int64_t)sizeof *begin * (bnn_count + 1));
  for (int32_t i = 1; i < bnn_count; ++i) begin[i + 1] = begin[i] + 2 + bnn_networks[i].count;
  int32_t each = begin[bnn_count];
  double *times = memory((int64_t)sizeof *times * rounds * each);
  for (int round = 0; round < rounds; ++round)
    for (int32_t k = 1; k < bnn_count; ++k) {
      int32_t i = round % 2 ? bnn_count - k : k;
      double *at = times + (int64_t)round * each + begin[i];
      at[0] = fastest(&all[0], bnn_reference_runs);
      at[1] = fastest(&all[i], bnn_runs);
      steps(&all[i], bnn_step_runs);
      memcpy(at + 2, all[i].fastest, sizeof *at * (size_t)bnn_networks[i].count);
    }
  printf("{\"name\": \"%s %s\", \"seconds\": [", bnn_id, name);
  for (int64_t i = 0; i < (int64_t)rounds * each; ++i) printf("%s%.5e", i ? ", " : "", times[i]);
  printf("], \"digest\": \"0\"}\n");
  return 0;
}
