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
#include "launch.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* tvm/rpc/base.py and src/runtime/rpc/minrpc/rpc_reference.h; everything is little-endian. */
enum { RPC_MAGIC = 0xff271, RPC_MISMATCH = RPC_MAGIC + 2, TRACKER_MAGIC = 0x2f271 };
enum { TRACKER_PUT = 3, TRACKER_UPDATE_INFO = 5, TRACKER_PENDING = 7 };
enum { SHUTDOWN = 1, INIT = 2, CALL = 3, RETURN = 4, EXCEPTION = 5, GET_FUNCTION = 9, FREE = 10 };
/* Type indices of TVM-FFI (tvm/ffi/c_api.h). */
enum { NONE = 0, INT = 1, FLOAT = 3, POINTER = 4, RAW_STR = 8, BYTE_ARRAY = 9 };
enum { SMALL_STR = 11, SMALL_BYTES = 12, STR = 65, BYTES = 66 };
static const char VERSION[] = "0.8.0";

enum { PING_SECONDS = 2, UNMATCHED_PINGS = 3, RETRY_SECONDS = 2, SESSION_SECONDS = 600 };
enum { MOST_ARGUMENTS = 16, MOST_BYTES = 1 << 30 };

static const char *key, *tracker, *announce, *bind_to = "0.0.0.0", *port = "9090";
static char *prefix[MOST_ARGUMENTS + 1];
static int prefix_count;
static volatile sig_atomic_t stopping;

static void stop(int number) { stopping = number; }

static void die(const char *what) {
  fprintf(stderr, "bnn-server: %s: %s\n", what, errno ? strerror(errno) : "wrong");
  exit(2);
}

static int get(int fd, void *at, size_t size) {
  for (char *p = at; size;) {
    ssize_t n = read(fd, p, size);
    if (n < 0 && errno == EINTR && !stopping) continue;
    if (n <= 0) return 0;
    p += n;
    size -= (size_t)n;
  }
  return 1;
}

static int put(int fd, const void *at, size_t size) {
  for (const char *p = at; size;) {
    ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR && !stopping) continue;
    if (n <= 0) return 0;
    p += n;
    size -= (size_t)n;
  }
  return 1;
}

static int put_int(int fd, int32_t value) { return put(fd, &value, 4); }

/* ---- the session: packets of values ---------------------------------------------------------- */

typedef struct {
  int32_t type;
  int64_t number;
  char *data; /* of strings and bytes; a zero follows */
  size_t size;
} Value;

typedef struct {
  char *at;
  size_t left;
  int wrong;
} Packet;

static void take(Packet *packet, void *to, size_t size) {
  memset(to, 0, size);
  if (size > packet->left) {
    packet->wrong = 1;
    return;
  }
  memcpy(to, packet->at, size);
  packet->at += size;
  packet->left -= size;
}

/* Reads up to MOST_ARGUMENTS values; their data stays in the packet. */
static int32_t take_values(Packet *packet, Value *values) {
  int32_t count;
  take(packet, &count, 4);
  if (count < 0 || count > MOST_ARGUMENTS) packet->wrong = 1;
  for (int32_t i = 0; i < count && !packet->wrong; ++i) {
    Value *v = &values[i];
    *v = (Value){0};
    take(packet, &v->type, 4);
    uint64_t size = 0;
    uint32_t again;
    switch (v->type) {
      case NONE:
        continue;
      case INT:
      case FLOAT:
      case POINTER:
        take(packet, &v->number, 8);
        continue;
      case SMALL_STR:
      case SMALL_BYTES:
      case STR:
      case BYTES:
        take(packet, &again, 4); /* objects repeat their type */
      /* fall through */
      case RAW_STR:
      case BYTE_ARRAY:
        take(packet, &size, 8);
        if (size > packet->left) break;
        v->data = packet->at;
        v->size = size;
        packet->at += size;
        packet->left -= size;
        continue;
      default:
        break;
    }
    packet->wrong = 1;
  }
  return packet->wrong ? 0 : count;
}

/* Terminated where it lies: the type of the next value, which has been read, is behind it. */
static char *text(Value *v) {
  if (!v->data) return "";
  v->data[v->size] = 0;
  return v->data;
}

static int reply(int fd, int32_t code, const Value *values, int32_t count) {
  uint64_t size = 8;
  for (int32_t i = 0; i < count; ++i)
    size += values[i].type == NONE ? 4 : values[i].type == RAW_STR ? 12 + values[i].size : 12;
  int ok = put(fd, &size, 8) && put_int(fd, code) && put_int(fd, count);
  for (int32_t i = 0; i < count && ok; ++i) {
    const Value *v = &values[i];
    uint64_t length = v->size;
    ok = put_int(fd, v->type);
    if (ok && v->type == RAW_STR) ok = put(fd, &length, 8) && put(fd, v->data, v->size);
    else if (ok && v->type != NONE) ok = put(fd, &v->number, 8);
  }
  return ok;
}

static int reply_error(int fd, const char *what) {
  char message[256];
  snprintf(message, sizeof message, "bnn-server: %s", what);
  Value v = {RAW_STR, 0, message, strlen(message)};
  return reply(fd, EXCEPTION, &v, 1);
}

/* A function's result: its type, then the value. */
static int reply_result(int fd, Value result) {
  Value both[2] = {{INT, result.type == RAW_STR ? STR : result.type, NULL, 0}, result};
  return reply(fd, RETURN, both, 2);
}

static int reply_text(int fd, char *words) {
  return reply_result(fd, (Value){RAW_STR, 0, words, strlen(words)});
}

/* ---- the functions a client can call --------------------------------------------------------- */

static int work_path(int fd, Value *values, int32_t count) {
  char path[256];
  if (count != 1 || strchr(text(&values[0]), '/')) return reply_error(fd, "give a plain file name");
  snprintf(path, sizeof path, "./%s", text(&values[0]));
  return reply_text(fd, path);
}

static int upload(int fd, Value *values, int32_t count) {
  if (count != 2 || !values[1].data) return reply_error(fd, "upload takes a name and bytes");
  const char *data = values[1].data, *name = text(&values[0]);
  size_t size = values[1].size;
  if (!*name || *name == '.' || strchr(name, '/')) return reply_error(fd, "bad file name");
  int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
  int ok = file >= 0;
  for (size_t done = 0; ok && done < size;) {
    ssize_t n = write(file, data + done, size - done);
    ok = n > 0;
    done += ok ? (size_t)n : 0;
  }
  if (file >= 0 && close(file)) ok = 0;
  return ok ? reply_result(fd, (Value){0}) : reply_error(fd, strerror(errno));
}

static int run(int fd, Value *values, int32_t count) {
  static char result[LAUNCH_TEXT];
  char *argv[2 * MOST_ARGUMENTS + 1] = {0};
  if (count < 2 || values[0].type != INT) return reply_error(fd, "launch takes seconds, a program");
  memcpy(argv, prefix, sizeof prefix);
  for (int32_t i = 1; i < count; ++i) argv[prefix_count + i - 1] = text(&values[i]);
  launch(argv, (int)values[0].number, fd, result, sizeof result);
  return reply_text(fd, result);
}

static const struct {
  const char *name;
  int (*call)(int fd, Value *values, int32_t count);
} FUNCTIONS[] = {
    {"tvm.rpc.server.workpath", work_path},
    {"tvm.rpc.server.upload", upload},
    {"bnn.launch", run},
};
enum { FUNCTION_COUNT = sizeof FUNCTIONS / sizeof *FUNCTIONS };

static int find(int fd, Value *values, int32_t count) {
  Value handle = {POINTER, 0, NULL, 0};
  for (int i = 0; count == 1 && i < FUNCTION_COUNT; ++i)
    if (!strcmp(text(&values[0]), FUNCTIONS[i].name)) handle.number = i + 1;
  return reply(fd, RETURN, &handle, 1);
}

static int handle(int fd, Packet *packet) {
  Value values[MOST_ARGUMENTS], none = {0};
  int32_t code;
  int64_t which = 0;
  uint64_t size = 0;
  char version[16] = "";
  take(packet, &code, 4);
  if (code == SHUTDOWN) return 0;
  if (code == INIT) {
    take(packet, &size, 8);
    take(packet, version, size < sizeof version ? size : 0);
  }
  if (code == CALL) take(packet, &which, 8);
  int32_t count = take_values(packet, values);
  if (packet->wrong) return reply_error(fd, "malformed packet");
  switch (code) {
    case INIT:
      return strcmp(version, VERSION) ? reply_error(fd, "speaks version 0.8.0 of TVM's protocol")
                                      : reply(fd, RETURN, &none, 1);
    case GET_FUNCTION:
      return find(fd, values, count);
    case FREE:
      return reply(fd, RETURN, &none, 1);
    case CALL:
      if (which >= 1 && which <= FUNCTION_COUNT) return FUNCTIONS[which - 1].call(fd, values, count);
      return reply_error(fd, "unknown function");
    default:
      return reply_error(fd, "only uploading and running programs is supported");
  }
}

static void session(int fd) {
  for (uint64_t size; get(fd, &size, 8);) {
    if (size == 0) continue;
    char *bytes = size <= MOST_BYTES ? malloc(size + 1) : NULL;
    if (!bytes || !get(fd, bytes, size)) return;
    Packet packet = {bytes, size, 0};
    int on = handle(fd, &packet);
    free(bytes);
    if (!on) return;
  }
}

/* ---- serving --------------------------------------------------------------------------------- */

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
  if (!mkdtemp(path)) die(path);
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
    for (long end = launch_ms() + 1000L * SESSION_SECONDS; !stopping;) {
      long left = end - launch_ms();
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
  if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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
  if (getrandom(&random, sizeof random, 0) < 0) random = (uint64_t)launch_ms();
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
  if (getaddrinfo(bind_to, port, &hints, &found)) die("--bind, --port");
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 8)) die("cannot listen");
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
    if (i + 1 == argc) die(argv[i]);
    for (size_t k = 0; k < sizeof known / sizeof *known; ++k)
      if (!strcmp(argv[i], known[k].name)) *known[k].to = argv[i + 1], found = 1;
    if (!strcmp(argv[i], "--run-with")) {
      found = 1;
      for (char *word = strtok(argv[i + 1], " "); word && prefix_count < MOST_ARGUMENTS;
           word = strtok(NULL, " "))
        prefix[prefix_count++] = word;
    }
    if (!found) die(argv[i]);
  }
  if (!key || !*key || strlen(key) > 128) die("--key is needed");
  for (const char *c = key; *c; ++c)
    if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) die("--key: letters, digits, . _ - only");
  if (tracker && !strrchr(tracker, ':')) die("--tracker HOST:PORT");
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
