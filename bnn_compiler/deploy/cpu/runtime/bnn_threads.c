/* A small thread pool, linked into every artifact: the glue runs each kernel through it.
 *
 * link.py names both functions after the network, so that two networks can be in one program.
 * Workers start with the first parallel loop after bnn_set_threads(n > 1) and sleep between loops
 * after a short spin. A second caller that finds the pool busy runs its range alone. Each iteration
 * computes its own share of the outputs, so the result does not depend on the number of threads.
 */
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

typedef int32_t (*Task)(void *arguments, int32_t first, int32_t last);

int32_t bnn_set_threads(int32_t n);
HIDDEN int32_t bnn_parallel(Task task, void *arguments, int32_t count);

#ifdef BNN_NO_THREADS

int32_t bnn_set_threads(int32_t n) {
  (void)n;
  return 1; /* one thread is in force, whatever was asked for */
}

int32_t bnn_parallel(Task task, void *arguments, int32_t count) {
  return task(arguments, 0, count);
}

#else

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAX_THREADS 64
#define SPINS 4000
#define FORGETTING (-1)

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* one parallel loop at a time */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards sleeping and waking */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_t workers[MAX_THREADS];
static int32_t wanted = 1, started;
static Task job;
static void *job_arguments;
static int32_t job_count, job_threads;
static atomic_int round_number, running, failed, stopping;
static atomic_int owner; /* the process whose workers these are, or FORGETTING */
static atomic_int born;  /* the round before the first one that new workers take part in */

static void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void share(int32_t id) {
  int32_t first = (int32_t)((int64_t)job_count * id / job_threads);
  int32_t last = (int32_t)((int64_t)job_count * (id + 1) / job_threads);
  int code = first < last ? job(job_arguments, first, last) : 0;
  if (code) atomic_store(&failed, code);
}

static void *work(void *argument) {
  int32_t id = (int32_t)(intptr_t)argument;
  int seen = atomic_load(&born);
  for (;;) {
    for (int i = 0; i < SPINS && atomic_load(&round_number) == seen; ++i) pause_cpu();
    if (atomic_load(&round_number) == seen) {
      pthread_mutex_lock(&lock);
      while (atomic_load(&round_number) == seen) pthread_cond_wait(&wake, &lock);
      pthread_mutex_unlock(&lock);
    }
    seen = atomic_load(&round_number);
    if (atomic_load(&stopping)) return 0;
    if (id < job_threads) share(id);
    atomic_fetch_sub(&running, 1);
  }
}

static void start_round(void) {
  pthread_mutex_lock(&lock);
  atomic_fetch_add(&round_number, 1);
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
}

static void stop(void) {
  if (!started) return;
  atomic_store(&stopping, 1);
  start_round();
  for (int32_t i = 0; i < started; ++i) pthread_join(workers[i], 0);
  atomic_store(&stopping, 0);
  atomic_store(&round_number, 0);
  started = 0;
}

/* A forked child has no workers: it starts its own when it needs them. Not by pthread_atfork, which
 * is another symbol in every libc. */
static void forget_after_fork(void) {
  int pid = (int)getpid(), seen = atomic_load(&owner);
  if (seen == pid) return;
  if (seen == FORGETTING || !atomic_compare_exchange_strong(&owner, &seen, FORGETTING)) {
    while (atomic_load(&owner) == FORGETTING) pause_cpu();
    return;
  }
  started = 0;
  atomic_store(&round_number, 0);
  pthread_mutex_init(&gate, 0);
  pthread_mutex_init(&lock, 0);
  pthread_cond_init(&wake, 0);
  atomic_store(&owner, pid);
}

__attribute__((destructor)) static void on_unload(void) {
  if (atomic_load(&owner) == (int)getpid()) stop();
}

int32_t bnn_set_threads(int32_t n) {
  n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
  forget_after_fork();
  pthread_mutex_lock(&gate);
  if (n != wanted) stop();
  wanted = n;
  pthread_mutex_unlock(&gate);
  return n;
}

int32_t bnn_parallel(Task task, void *arguments, int32_t count) {
  if (wanted == 1) return task(arguments, 0, count);
  forget_after_fork();
  if (pthread_mutex_trylock(&gate)) return task(arguments, 0, count);
  atomic_store(&born, atomic_load(&round_number));
  while (started < wanted - 1 &&
         !pthread_create(&workers[started], 0, work, (void *)(intptr_t)(started + 1)))
    ++started;
  job = task;
  job_arguments = arguments;
  job_count = count;
  job_threads = started + 1;
  atomic_store(&failed, 0);
  atomic_store(&running, started);
  start_round();
  share(0);
  while (atomic_load(&running)) pause_cpu();
  int code = atomic_load(&failed);
  pthread_mutex_unlock(&gate);
  return code;
}

#endif
