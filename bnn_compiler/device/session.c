/* One client of the server: as much of TVM's RPC protocol as it takes to upload and run a file.
 *
 * A packet is its size, a code and values; the answer is another. Packets are those of
 * src/runtime/rpc/minrpc/rpc_reference.h in TVM, types those of tvm/ffi/c_api.h; everything is
 * little-endian.
 */
#define _GNU_SOURCE
#include "server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "launch.h"

enum { SHUTDOWN = 1, INIT = 2, CALL = 3, RETURN = 4, EXCEPTION = 5, GET_FUNCTION = 9, FREE = 10 };
enum { NONE = 0, INT = 1, FLOAT = 3, POINTER = 4, RAW_STR = 8, BYTE_ARRAY = 9 };
enum { SMALL_STR = 11, SMALL_BYTES = 12, STR = 65, BYTES = 66 };
/* Of a packet, and so of a file; of files in a session. */
enum { MOST_BYTES = 1 << 27, MOST_FILES = 64, MOST_NAME = 128 };
static const int64_t MOST_STORED = 1 << 28;
static const char VERSION[] = "0.8.0";

int get(int fd, void *at, size_t size) {
  for (char *p = at; size;) {
    ssize_t n = read(fd, p, size);
    if (n < 0 && errno == EINTR && !stopping) continue;
    if (n <= 0) return 0;
    p += n;
    size -= (size_t)n;
  }
  return 1;
}

int put(int fd, const void *at, size_t size) {
  for (const char *p = at; size;) {
    ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR && !stopping) continue;
    if (n <= 0) return 0;
    p += n;
    size -= (size_t)n;
  }
  return 1;
}

int put_int(int fd, int32_t value) { return put(fd, &value, 4); }

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

int put_error(int fd, const char *what) {
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

/* A name in this folder, and nothing else; NULL if it is none. */
static const char *plain_name(Value *v) {
  const char *name = text(v);
  if (!v->size || v->size > MOST_NAME || *name == '.' || strlen(name) != v->size) return NULL;
  for (const char *c = name; *c; ++c)
    if (*c <= ' ' || *c > '~' || *c == '/') return NULL;
  return name;
}

static int work_path(int fd, Value *values, int32_t count) {
  char path[MOST_NAME + 3];
  const char *name = count == 1 ? plain_name(&values[0]) : NULL;
  if (!name) return put_error(fd, "bad file name");
  snprintf(path, sizeof path, "./%s", name);
  return reply_text(fd, path);
}

static int upload(int fd, Value *values, int32_t count) {
  static int files;
  static int64_t stored;
  if (count != 2 || !values[1].data) return put_error(fd, "upload takes a name and bytes");
  const char *data = values[1].data, *name = plain_name(&values[0]);
  size_t size = values[1].size;
  if (!name) return put_error(fd, "bad file name");
  if (files == MOST_FILES) return put_error(fd, "a session takes at most 64 files");
  if (stored + (int64_t)size > MOST_STORED) return put_error(fd, "a session takes at most 256 MiB");
  ++files;
  stored += (int64_t)size;
  /* Anew: what is there may be a program that runs, or a link that one made. */
  unlink(name);
  int file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700), ok = file >= 0;
  for (size_t done = 0; ok && done < size;) {
    ssize_t n = write(file, data + done, size - done);
    ok = n > 0;
    done += ok ? (size_t)n : 0;
  }
  int why = errno;
  if (file >= 0 && close(file) && ok) ok = 0, why = errno;
  if (ok) return reply_result(fd, (Value){0});
  unlink(name);
  return put_error(fd, strerror(why));
}

static int run(int fd, Value *values, int32_t count) {
  static char result[LAUNCH_TEXT];
  char *argv[2 * MOST_ARGUMENTS + 1] = {0};
  if (count < 2 || values[0].type != INT) return put_error(fd, "launch takes seconds, a program");
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
  if (packet->wrong) return put_error(fd, "malformed packet");
  switch (code) {
    case INIT:
      return strcmp(version, VERSION) ? put_error(fd, "speaks version 0.8.0 of TVM's protocol")
                                      : reply(fd, RETURN, &none, 1);
    case GET_FUNCTION:
      return find(fd, values, count);
    case FREE:
      return reply(fd, RETURN, &none, 1);
    case CALL:
      if (which >= 1 && which <= FUNCTION_COUNT) return FUNCTIONS[which - 1].call(fd, values, count);
      return put_error(fd, "unknown function");
    default:
      return put_error(fd, "only uploading and running programs is supported");
  }
}

void session(int fd) {
  for (uint64_t size; get(fd, &size, 8);) {
    if (size == 0) continue;
    char *bytes = size <= MOST_BYTES ? malloc(size + 1) : NULL;
    if (!bytes) {
      put_error(fd, size > MOST_BYTES ? "a file has at most 128 MiB" : "out of memory");
      return;
    }
    if (!get(fd, bytes, size)) return;
    Packet packet = {bytes, size, 0};
    int on = handle(fd, &packet);
    free(bytes);
    if (!on) return;
  }
}
