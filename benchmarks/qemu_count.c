/* A plugin of QEMU's code generator: how often each block of guest code ran.
 *
 * Writes one line a block to the file that the environment variable COUNTS names:
 * address, instructions, executions, symbol. The functions are those of qemu-plugin.h, version 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct Block {
  uint64_t address, instructions, executions;
  const char *symbol;
  struct Block *next;
} Block;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                                  void (*)(qemu_plugin_id_t,
                                                           struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *),
                                           void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *,
                                                     uint64_t);

EXPORT int qemu_plugin_version = 1;
static Block *blocks;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  Block *block = calloc(1, sizeof *block);
  if (!block) abort();
  block->address = qemu_plugin_tb_vaddr(tb);
  block->instructions = qemu_plugin_tb_n_insns(tb);
  block->symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
  block->next = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &block->executions, 1);
}

static void finished(qemu_plugin_id_t id, void *data) {
  (void)id;
  (void)data;
  const char *path = getenv("COUNTS");
  FILE *file = path ? fopen(path, "w") : 0;
  if (!file) abort();
  for (const Block *b = blocks; b; b = b->next)
    fprintf(file, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", b->address, b->instructions,
            b->executions, b->symbol ? b->symbol : "?");
  if (fclose(file)) abort();
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
  (void)info;
  (void)count;
  (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, 0);
  return 0;
}
