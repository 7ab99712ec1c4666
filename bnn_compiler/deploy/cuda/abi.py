"""A network's C interface on a GPU. Python's side of it is runtime/cuda.py."""

#: What a network shows to the outside, each with NAME_ before it.
EXPORTS = (
    "open",
    "close",
    "start",
    "end",
    "run",
    "run_checked",
    "run_steps",
    "read",
    "write",
    "wait",
    "stream",
    "device",
    "gpu",
    "allocate",
    "release",
    "fetch",
    "error",
    "info",
)

HEADER = """\
/* {name}: a binary neural network compiled by bnn_compiler, for an NVIDIA GPU.
 *
 * Nothing but NVIDIA's driver is needed, and that only when it is run: libcuda.so.1 is found by
 * {name}_open.
 * To link {name}.a, take it from a folder (bnnc compile --folder), and add -ldl -pthread. That of
 * an artifact in one file lacks the weights, which are in {name}.so: the linker misses
 * {name}_weights.
 */
#ifndef {guard}_H
#define {guard}_H

#include <stdint.h>

#define {guard}_STEPS {steps}

/* What a function returns; {name}_error says more. */
#define {guard}_DONE 0
#define {guard}_FAILED (-1)        /* a call of the driver */
#define {guard}_HAS_NAN (-2)       /* an input in host memory holds a NaN, which has no sign */
#define {guard}_NO_DRIVER (-3)     /* no libcuda.so.1 */
#define {guard}_NO_DEVICE (-4)     /* no such GPU */
#define {guard}_WRONG_DEVICE (-5)  /* compiled for other GPUs */
#define {guard}_OLD_DRIVER (-6)    /* a driver older than the code */
#define {guard}_NO_MEMORY (-7)     /* of the GPU or the host */
#define {guard}_WRONG_POINTER (-8) /* on another GPU */

#ifdef __cplusplus
extern "C" {{
#endif

/* Code and weights on one GPU, for any number of sessions and threads. */
typedef struct {name}_network {name}_network;
/* Memory and graphs of one run at a time. */
typedef struct {name}_session {name}_session;

/* Take the context that is current in this thread, or else the primary one of GPU 0; of GPU
 * ``device`` where that is not negative. */
int32_t {name}_open(int32_t device, {name}_network **network);
/* After its sessions. */
void {name}_close({name}_network *network);

int32_t {name}_start({name}_network *network, {name}_session **session);
/* Waits for its runs. */
void {name}_end({name}_session *session);

/* Run the network in ``stream`` (a CUstream or cudaStream_t; NULL is CUDA's default one). Each
 * tensor is dense and lies in host memory or on the network's GPU:
{shapes}
 * With one in host memory this returns when the run has ended, else once it is in the stream. */
int32_t {name}_run({name}_session *session, const void *const *inputs, void *const *outputs,
        void *stream);

/* The same, but {guard}_HAS_NAN at once if a float input in host memory holds a NaN. */
int32_t {name}_run_checked({name}_session *session, const void *const *inputs,
        void *const *outputs, void *stream);

/* Run steps first..last-1 and wait; seconds may be NULL, else seconds[i] grows by the time of step
 * i on the GPU. */
int32_t {name}_run_steps({name}_session *session, const void *const *inputs,
        void *const *outputs, int32_t first, int32_t last, double *seconds);

/* Wait for the session's runs. */
int32_t {name}_wait({name}_session *session);

/* A stream of the session's own, which waits for no other. */
void *{name}_stream({name}_session *session);

/* Copy bytes of the workspace, after the session's runs. */
int32_t {name}_read({name}_session *session, uint64_t offset, uint64_t bytes, void *to);
int32_t {name}_write({name}_session *session, uint64_t offset, uint64_t bytes,
        const void *from);

/* The network's GPU: its number, its name (cut to ``size`` bytes), and memory of it. */
int32_t {name}_device({name}_network *network);
int32_t {name}_gpu({name}_network *network, char *gpu, int32_t size);
int32_t {name}_allocate({name}_network *network, uint64_t bytes, void **memory);
void {name}_release({name}_network *network, void *memory);
/* Copy it to the host, after what is in ``stream``; of 0 bytes only wait for that. */
int32_t {name}_fetch({name}_network *network, void *to, const void *memory, uint64_t bytes,
        void *stream);

/* What went wrong last in this thread. */
const char *{name}_error(void);

#ifdef __cplusplus
}}
#endif
#endif
"""
