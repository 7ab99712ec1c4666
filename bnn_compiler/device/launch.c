/* A library for TVM's own RPC server, which can load and call libraries but not run programs:
 *
 *   bnn_launch(seconds, program, argument ...) -> "EXIT CODE\nOUTPUT"
 *
 * A candidate then runs in a process of its own there too, and a crash leaves the server alive.
 * TVM-FFI's C ABI is used without its library (tvm/ffi/c_api.h has the originals), and libc is not
 * linked: the server's process brings its own, be it glibc or musl.
 */
#define _GNU_SOURCE
#include "launch.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { INT = 1, RAW_STR = 8, STR = 65, MOST_ARGUMENTS = 16 };

typedef struct {
  int32_t type;
  uint32_t padding;
  union {
    int64_t integer;
    const char *text;
    void *object;
  } value;
} Any;

/* TVMFFIObject, then the TVMFFIByteArray of a string. */
typedef struct {
  uint64_t references;
  int32_t type;
  uint32_t padding;
  void (*deleter)(void *self, int flags);
  const char *data;
  size_t size;
} String;

static void keep(void *self, int flags) {
  (void)self;
  (void)flags;
}

__attribute__((visibility("default"))) int __tvm_ffi_bnn_launch(void *self, const Any *arguments,
                                                                int32_t count, Any *result) {
  static char text[LAUNCH_TEXT];
  static String string;
  char *argv[MOST_ARGUMENTS + 1] = {0};
  int valid = count > 1 && count <= MOST_ARGUMENTS && arguments[0].type == INT;
  for (int32_t i = 1; valid && i < count; ++i) {
    valid = arguments[i].type == RAW_STR;
    argv[i - 1] = (char *)arguments[i].value.text;
  }
  (void)self;
  if (valid) chmod(argv[0], 0700); /* an upload is not executable */
  if (valid) launch(argv, (int)arguments[0].value.integer, -1, text, sizeof text);
  else snprintf(text, sizeof text, "%d\nbnn_launch: wrong arguments", LAUNCH_CANNOT_RUN);
  /* One reference of each kind, and memory that is never freed. */
  string = (String){UINT64_C(1) << 32 | 1, STR, 0, keep, text, strlen(text)};
  *result = (Any){STR, 0, {.object = &string}};
  return 0;
}
