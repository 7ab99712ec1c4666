/* The part of the CUDA driver that a network calls, found in libcuda.so.1 when it is first needed:
 * what is linked with this loads where there is no driver, and says so.
 *
 * With BNN_CUDA_H the types are cuda.h's, so that a test can compare the prototypes.
 */
#ifndef BNN_DRIVER_H
#define BNN_DRIVER_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef BNN_CUDA_H
#include <cuda.h>
#else
typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef int CUdevice_attribute;
typedef int CUfunction_attribute;
typedef int CUpointer_attribute;
typedef int CUstreamCaptureMode;
typedef int CUstreamCaptureStatus;
typedef int CUjit_option;

typedef struct {
  int id;
  char pad[8 - sizeof(int)];
  union {
    char pad[64];
    int programmaticStreamSerializationAllowed;
  } value;
} CUlaunchAttribute;

typedef struct {
  unsigned int gridDimX, gridDimY, gridDimZ;
  unsigned int blockDimX, blockDimY, blockDimZ;
  unsigned int sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute *attrs;
  unsigned int numAttrs;
} CUlaunchConfig;

enum {
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
  CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
  CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
  CU_MEMORYTYPE_DEVICE = 2,
  CU_STREAM_NON_BLOCKING = 1,
  CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
  CU_STREAM_CAPTURE_STATUS_NONE = 0,
  CU_EVENT_DEFAULT = 0,
  CU_EVENT_DISABLE_TIMING = 2,
  CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_STUB_LIBRARY = 34,
  CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER = 36,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
};
#endif

/* Each by the versioned name under which its prototype has never changed. All have been there
 * since CUDA 11.8. */
#define BNN_DRIVER_CALLS(X)                                                                       \
  X(cuInit, (unsigned int))                                                                       \
  X(cuDriverGetVersion, (int *))                                                                  \
  X(cuGetErrorName, (CUresult, const char **))                                                    \
  X(cuDeviceGetCount, (int *))                                                                    \
  X(cuDeviceGet, (CUdevice *, int))                                                               \
  X(cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice))                                  \
  X(cuDeviceGetName, (char *, int, CUdevice))                                                     \
  X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                            \
  X(cuDevicePrimaryCtxRelease_v2, (CUdevice))                                                     \
  X(cuDevicePrimaryCtxGetState, (CUdevice, unsigned int *, int *))                                \
  X(cuCtxGetCurrent, (CUcontext *))                                                               \
  X(cuCtxGetDevice, (CUdevice *))                                                                 \
  X(cuCtxPushCurrent_v2, (CUcontext))                                                             \
  X(cuCtxPopCurrent_v2, (CUcontext *))                                                            \
  X(cuModuleLoadDataEx, (CUmodule *, const void *, unsigned int, CUjit_option *, void **))        \
  X(cuModuleUnload, (CUmodule))                                                                   \
  X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                  \
  X(cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int))                                  \
  X(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                       \
  X(cuMemFree_v2, (CUdeviceptr))                                                                  \
  X(cuMemcpyHtoD_v2, (CUdeviceptr, const void *, size_t))                                         \
  X(cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))                          \
  X(cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))                                \
  X(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))                              \
  X(cuMemsetD2D32Async, (CUdeviceptr, size_t, unsigned int, size_t, size_t, CUstream))            \
  X(cuPointerGetAttribute, (void *, CUpointer_attribute, CUdeviceptr))                            \
  X(cuStreamCreate, (CUstream *, unsigned int))                                                   \
  X(cuStreamDestroy_v2, (CUstream))                                                               \
  X(cuStreamSynchronize, (CUstream))                                                              \
  X(cuStreamWaitEvent, (CUstream, CUevent, unsigned int))                                         \
  X(cuStreamIsCapturing, (CUstream, CUstreamCaptureStatus *))                                     \
  X(cuStreamBeginCapture_v2, (CUstream, CUstreamCaptureMode))                                     \
  X(cuStreamEndCapture, (CUstream, CUgraph *))                                                    \
  X(cuEventCreate, (CUevent *, unsigned int))                                                     \
  X(cuEventDestroy_v2, (CUevent))                                                                 \
  X(cuEventRecord, (CUevent, CUstream))                                                           \
  X(cuEventSynchronize, (CUevent))                                                                \
  X(cuEventElapsedTime, (float *, CUevent, CUevent))                                              \
  X(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long))                    \
  X(cuGraphDestroy, (CUgraph))                                                                    \
  X(cuGraphExecDestroy, (CUgraphExec))                                                            \
  X(cuGraphLaunch, (CUgraphExec, CUstream))                                                       \
  X(cuLaunchKernelEx, (const CUlaunchConfig *, CUfunction, void **, void **))

#define BNN_MEMBER(name, arguments) CUresult(*name) arguments;
static struct bnn_driver {
  BNN_DRIVER_CALLS(BNN_MEMBER)
} cu;
#undef BNN_MEMBER

/* What a call returns; the numbers are NAME.h's. */
enum {
  BNN_DONE = 0,
  BNN_FAILED = -1,
  BNN_HAS_NAN = -2,
  BNN_NO_DRIVER = -3,
  BNN_NO_DEVICE = -4,
  BNN_WRONG_DEVICE = -5,
  BNN_OLD_DRIVER = -6,
  BNN_NO_MEMORY = -7,
  BNN_WRONG_POINTER = -8,
};

static _Thread_local char bnn_text[512];

__attribute__((format(printf, 2, 3))) static int32_t fail(int32_t code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(bnn_text, sizeof bnn_text, format, arguments);
  va_end(arguments);
  return code;
}

static const char *name_of(CUresult result) {
  const char *name = NULL;
  if (!cu.cuGetErrorName || cu.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
    return "an unknown error";
  return name;
}

static int32_t checked(CUresult result, const char *call) {
  if (result == CUDA_SUCCESS) return BNN_DONE;
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return fail(BNN_NO_MEMORY, "the GPU is out of memory (%s)", call);
  return fail(BNN_FAILED, "%s: %s (%d)", call, name_of(result), (int)result);
}

/* Leave by ``done`` with the code of a call that failed. */
#define TRY(call, ...)                                            \
  do {                                                            \
    if ((code = checked(cu.call(__VA_ARGS__), #call))) goto done; \
  } while (0)

static int32_t find_driver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(BNN_NO_DRIVER, "there is no NVIDIA driver here: libcuda.so.1 was not found");
  const char *missing = NULL;
#define BNN_FIND(name, arguments)                                 \
  {                                                               \
    void *found = dlsym(library, #name);                          \
    memcpy(&cu.name, &found, sizeof found);                       \
    if (!found) missing = #name;                                  \
  }
  BNN_DRIVER_CALLS(BNN_FIND)
#undef BNN_FIND
  int version = 0;
  if (cu.cuDriverGetVersion) cu.cuDriverGetVersion(&version);
  if (missing)
    return fail(BNN_OLD_DRIVER,
                "the NVIDIA driver is that of CUDA %d.%d, which has no %s; install that of 11.8 or"
                " later", version / 1000, version % 1000 / 10, missing);
  CUresult result = cu.cuInit(0);
  if (result == CUDA_ERROR_NO_DEVICE) return fail(BNN_NO_DEVICE, "there is no NVIDIA GPU here");
  if (result == CUDA_ERROR_STUB_LIBRARY)
    return fail(BNN_NO_DRIVER,
                "there is no NVIDIA driver here: libcuda.so.1 is the toolkit's stub");
  if (result == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
    return fail(BNN_OLD_DRIVER, "libcuda.so.1 and the NVIDIA kernel module are of two versions:"
                " restart the machine, or install one driver");
  return checked(result, "cuInit");
}

/* The driver, found once: 0, or why there is none. It stays, as it does not like to go. */
static int32_t need_driver(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static int found = 0;
  pthread_mutex_lock(&lock);
  int32_t code = found ? BNN_DONE : find_driver();
  found = !code;
  pthread_mutex_unlock(&lock);
  return code;
}

#endif
