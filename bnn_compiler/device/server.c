/* bnn-server: serves a board to TVM's RPC clients without TVM or Python.
 *
 *   bnn-server --key KEY [--tracker HOST:PORT] [--port PORT] [--bind ADDRESS]
 *              [--announce ADDRESS] [--run-with "COMMAND ..."]
 *
 * It registers with TVM's tracker as TVM's own server does, and speaks as much of the session
 * protocol as it takes to upload a file and run it. Each session has a process and an empty folder;
 * both are gone when it ends. --run-with goes before every program (nice, an emulator).
 *
 * Whoever can connect can run programs here, as with TVM's server: trusted networks only.
 */
#define _GNU_SOURCE
#include "server.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As in tvm/rpc/base.py. */
enum { RPC_MAGIC = 0xff271, RPC_MISMATCH = RPC_MAGIC + 2, TRACKER_MAGIC = 0x2f271 };
enum { TRACKER_PUT = 3, TRACKER_UPDATE_INFO = 5, TRACKER_PENDING = 7 };

enum { PING_SECONDS = 2, UNMATCHED_PINGS = 3, RETRY_SECONDS = 2, SESSION_SECONDS = 600 };

static const char *key, *tracker, *announce, *bind_to = "0.0.0.0", *port = "9090";
char *prefix[MOST_ARGUMENTS + 1];
int prefix_count;
volatile sig_atomic_t stopping;

static void stop(int number) { stopping = number; }

static void die(const char *what, const char *why) {
  fprintf(stderr, "bnn-server: %s %s\n", what, why);
  exit(2);
}

static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void remove_folder(const char *path) {
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    unlinkat(dirfd(folder), entry->d_name, 0);
  if (folder) closedir(folder);
  rmdir(path);
}

/* Runs a session in a process of its own, and clears up behind it. */
static void serve(int fd, int listener, int tracker_fd) {
  const char *base = getenv("TMPDIR");
  char path[256];
  int ends[2], on = 1;
  snprintf(path, sizeof path, "%s/bnn-server-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(path)) { /* a full disk may have room again */
    perror(path);
    return;
  }
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* answers are short */
  pid_t child = pipe2(ends, O_CLOEXEC) ? -1 : fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(listener);
    if (tracker_fd >= 0) close(tracker_fd);
    if (chdir(path)) _exit(1);
    session(fd);
    _exit(0);
  }
  if (child > 0) {
    /* The other end of the pipe closes with the child. */
    close(ends[1]);
    struct pollfd ended = {ends[0], POLLIN, 0};
    for (long end = now_ms() + 1000L * SESSION_SECONDS; !stopping;) {
      long left = end - now_ms();
      if (left <= 0 || poll(&ended, 1, (int)left) > 0) break;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ends[0]);
  }
  remove_folder(path);
}

static int connect_tracker(void) {
  char host[128];
  const char *colon = strrchr(tracker, ':');
  snprintf(host, sizeof host, "%.*s", (int)(colon - tracker), tracker);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
  if (getaddrinfo(host, colon + 1, &hints, &found)) return -1;
  int fd = -1;
  for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
      close(fd);
      fd = -1;
    }
  }
  freeaddrinfo(found);
  int32_t magic = 0, on = 1;
  struct timeval patience = {30, 0}; /* a tracker without power does not hang up */
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  if (fd >= 0 && !(put_int(fd, TRACKER_MAGIC) && get(fd, &magic, 4) && magic == TRACKER_MAGIC)) {
    close(fd);
    fd = -1;
  }
  return fd;
}

/* Sends JSON, reads the answer; 0 if the tracker is gone or says no. */
static int ask(int fd, char *message, char *answer, int32_t size) {
  int32_t length = (int32_t)strlen(message);
  if (!put_int(fd, length) || !put(fd, message, (size_t)length)) return 0;
  if (!get(fd, &length, 4) || length < 0 || length >= size) return 0;
  answer[length] = 0;
  return get(fd, answer, (size_t)length);
}

static int offer(int fd, int number, char *match) {
  char message[512], answer[64], host[160] = "null";
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) < 0) random = (uint64_t)now_ms();
  snprintf(match, 256, "%s:0.%016llx", key, (unsigned long long)random);
  if (announce) snprintf(host, sizeof host, "\"%s\"", announce);
  snprintf(message, sizeof message, "[%d, \"%s\", [%d, \"%s\"], %s]", TRACKER_PUT, key, number,
           match, host);
  return ask(fd, message, answer, sizeof answer) && !strcmp(answer, "0");
}

static int introduce(int fd, int number) {
  char message[512], answer[64], host[160] = "null";
  if (announce) snprintf(host, sizeof host, "\"%s\"", announce);
  snprintf(message, sizeof message, "[%d, {\"key\": \"server:%s\", \"addr\": [%s, %d]}]",
           TRACKER_UPDATE_INFO, key, host, number);
  return ask(fd, message, answer, sizeof answer) && !strcmp(answer, "0");
}

/* A client that knows ``match``, or -1. */
static int greet(int listener, const char *match) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  int32_t magic = 0, length = 0;
  char words[512] = "", mine[256];
  struct timeval patience = {5, 0}, forever = {0, 0};
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (get(fd, &magic, 4) && magic == RPC_MAGIC && get(fd, &length, 4) && length > 0 &&
      length < (int32_t)sizeof words && get(fd, words, (size_t)length)) {
    words[strcspn(words, " ")] = 0; /* options follow */
    if (!strncmp(words, "client:", 7) && !strcmp(words + 7, match)) {
      snprintf(mine, sizeof mine, "server:%s", key);
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
      if (put_int(fd, RPC_MAGIC) && put_int(fd, (int32_t)strlen(mine)) &&
          put(fd, mine, strlen(mine)))
        return fd;
    }
    put_int(fd, RPC_MISMATCH);
  }
  close(fd);
  return -1;
}

/* Waits for one session, offering the board to the tracker; returns the tracker's socket. */
static int once(int listener, int number, int fd) {
  char match[256], question[16], pending[1 << 16];
  snprintf(question, sizeof question, "[%d]", TRACKER_PENDING);
  snprintf(match, sizeof match, "%s", key);
  if (tracker && fd < 0) {
    fd = connect_tracker();
    if (fd < 0 || !introduce(fd, number)) goto lost;
  }
  if (tracker && !offer(fd, number, match)) goto lost;
  for (int unmatched = 0; !stopping;) {
    struct pollfd waits = {listener, POLLIN, 0};
    if (poll(&waits, 1, tracker ? 1000 * PING_SECONDS : -1) < 0) continue;
    if (waits.revents) {
      int client = greet(listener, match);
      if (client < 0) continue;
      serve(client, listener, fd);
      close(client);
      return fd;
    }
    /* The tracker gave the board to a client that never came: offer it again. */
    if (!ask(fd, question, pending, sizeof pending)) goto lost;
    unmatched = strstr(pending, match) ? 0 : unmatched + 1;
    if (unmatched > UNMATCHED_PINGS) return offer(fd, number, match) ? fd : (close(fd), -1);
  }
  return fd;
lost:
  if (fd >= 0) close(fd);
  sleep(RETRY_SECONDS);
  return -1;
}

static int listen_on(int *number) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
  int on = 1;
  if (getaddrinfo(bind_to, port, &hints, &found)) die("--bind, --port:", "no such address or port");
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 8)) die("cannot listen:", strerror(errno));
  freeaddrinfo(found);
  struct sockaddr_storage name;
  socklen_t size = sizeof name;
  getsockname(fd, (struct sockaddr *)&name, &size);
  *number = ntohs(((struct sockaddr_in *)&name)->sin_port); /* at the same place in IPv6 */
  return fd;
}

static void options(int argc, char **argv) {
  const struct {
    const char *name, **to;
  } known[] = {{"--key", &key},   {"--tracker", &tracker},   {"--port", &port},
               {"--bind", &bind_to}, {"--announce", &announce}};
  for (int i = 1; i < argc; i += 2) {
    int found = 0;
    if (i + 1 == argc) die(argv[i], "needs a value");
    for (size_t k = 0; k < sizeof known / sizeof *known; ++k)
      if (!strcmp(argv[i], known[k].name)) *known[k].to = argv[i + 1], found = 1;
    if (!strcmp(argv[i], "--run-with")) {
      found = 1;
      for (char *word = strtok(argv[i + 1], " "); word && prefix_count < MOST_ARGUMENTS;
           word = strtok(NULL, " "))
        prefix[prefix_count++] = word;
    }
    if (!found) die(argv[i], "is not an option");
  }
  if (!key || !*key || strlen(key) > 128) die("--key", "is needed, of at most 128 letters");
  for (const char *c = key; *c; ++c)
    if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) die("--key:", "letters, digits, . _ - only");
  if (tracker && !strrchr(tracker, ':')) die("--tracker", "takes HOST:PORT");
}

int main(int argc, char **argv) {
  struct sigaction action = {.sa_handler = stop};
  int number = 0, fd = -1;
  options(argc, argv);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  int listener = listen_on(&number);
  printf("bnn-server: %s on port %d\n", key, number);
  fflush(stdout);
  while (!stopping) fd = once(listener, number, fd);
  return 0;
}
