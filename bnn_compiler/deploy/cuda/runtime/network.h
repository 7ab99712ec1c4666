/* A network on a GPU: its context, its code, its weights.
 *
 * It takes the context that is current (PyTorch's, if that runs here), or else the device's primary
 * one, which is what any other CUDA library in this process would take.
 */
#ifndef BNN_NETWORK_H
#define BNN_NETWORK_H

#include "driver.h"
#include "program.h"

struct bnn_network {
  CUdevice device;
  CUcontext context;
  int retained; /* the primary context is ours to release */
  int version;  /* 10 * major + minor of the GPU */
  CUmodule module;
  CUfunction functions[KERNELS];
  CUdeviceptr weights;
};

static int32_t enter(struct bnn_network *network) {
  return checked(cu.cuCtxPushCurrent_v2(network->context), "cuCtxPushCurrent");
}

/* The error of what was done counts more than that of leaving. */
static int32_t leave(int32_t code) {
  CUcontext left;
  CUresult result = cu.cuCtxPopCurrent_v2(&left);
  return code ? code : checked(result, "cuCtxPopCurrent");
}

/* The context of ``device``, or, if that is negative, the current one or that of device 0. */
static int32_t take_context(struct bnn_network *network, int32_t device) {
  int32_t code;
  int count = 0, active = 0;
  unsigned int flags;
  CUcontext current = NULL;
  CUdevice here = -1;
  TRY(cuDeviceGetCount, &count);
  if (device >= count)
    return fail(BNN_NO_DEVICE, "there is no GPU %d here; there are %d", (int)device, count);
  TRY(cuCtxGetCurrent, &current);
  if (current) TRY(cuCtxGetDevice, &here);
  if (device < 0 && !current) device = 0;
  if (current && device < 0) {
    network->device = here;
  } else {
    TRY(cuDeviceGet, &network->device, device);
    if (here != network->device) current = NULL;
  }
  TRY(cuDevicePrimaryCtxGetState, network->device, &flags, &active);
  if (!current || active) {
    TRY(cuDevicePrimaryCtxRetain, &network->context, network->device);
    network->retained = 1;
  }
  if (current && current != network->context) {
    /* A context of the caller's own: it has to outlive the network. */
    if (network->retained) cu.cuDevicePrimaryCtxRelease_v2(network->device);
    network->retained = 0;
    network->context = current;
  }
done:
  return code;
}

/* The best code for the GPU, of PTX alone if ``ptx``, or NULL. */
static const struct image *choose_image(int version, int ptx) {
  const struct image *best = NULL;
  for (int i = 0; i < IMAGES; ++i) {
    const struct image *image = &images[i];
    int fits = image->exact ? image->version == version
               : image->ptx ? image->version <= version
                            : image->version / 10 == version / 10 && image->version <= version;
    if (!fits || (ptx && !image->ptx)) continue;
    if (!best || best->ptx > image->ptx || (best->ptx == image->ptx && best->version < image->version))
      best = image;
  }
  return best;
}

static int32_t wrong_device(const struct bnn_network *network) {
  char name[128] = "this GPU";
  cu.cuDeviceGetName(name, sizeof name, network->device);
  return fail(BNN_WRONG_DEVICE,
              "%s is of sm_%d, and the network is compiled for " TARGETS
              "; compile it with --target cuda-sm%d", name, network->version, network->version);
}

static int32_t load_code(struct bnn_network *network) {
  int32_t code;
  int major = 0, minor = 0, driver = 0;
  TRY(cuDeviceGetAttribute, &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, network->device);
  TRY(cuDeviceGetAttribute, &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, network->device);
  network->version = 10 * major + minor;
  const struct image *image = choose_image(network->version, 0);
  if (!image) return wrong_device(network);
  CUresult result = cu.cuModuleLoadDataEx(&network->module, image->start, 0, NULL, NULL);
  /* Of one major version GPUs of boards (8.7) do not take the code of others. */
  const struct image *other = choose_image(network->version, 1);
  if (result == CUDA_ERROR_NO_BINARY_FOR_GPU && other && other != image) {
    image = other;
    result = cu.cuModuleLoadDataEx(&network->module, image->start, 0, NULL, NULL);
  }
  if (result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || result == CUDA_ERROR_INVALID_IMAGE ||
      result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER) {
    cu.cuDriverGetVersion(&driver);
    return fail(BNN_OLD_DRIVER,
                "the NVIDIA driver, that of CUDA %d.%d, is too old for the network's %s (%s); install"
                " a newer one", driver / 1000, driver % 1000 / 10, image->ptx ? "PTX" : "code",
                name_of(result));
  }
  if ((code = checked(result, "cuModuleLoadDataEx"))) return code;
  for (int i = 0; i < KERNELS; ++i) {
    TRY(cuModuleGetFunction, &network->functions[i], network->module, kernels[i].symbol);
    /* What every GPU gives without being asked. */
    if (kernels[i].shared > 48 * 1024)
      TRY(cuFuncSetAttribute, network->functions[i],
          CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)kernels[i].shared);
  }
done:
  return code;
}

static int32_t load_weights(struct bnn_network *network) {
  int32_t code = BNN_DONE;
  if (WEIGHTS_BYTES) {
    TRY(cuMemAlloc_v2, &network->weights, WEIGHTS_BYTES);
    TRY(cuMemcpyHtoD_v2, network->weights, BNN(weights), WEIGHTS_BYTES);
    /* They may still be under way in the default stream, for which sessions' streams do not wait. */
    TRY(cuStreamSynchronize, NULL);
  }
done:
  return code;
}

int32_t BNN(open)(int32_t device, struct bnn_network **opened) {
  *opened = NULL;
  int32_t code = need_driver();
  if (code) return code;
  struct bnn_network *network = calloc(1, sizeof *network);
  if (!network) return fail(BNN_NO_MEMORY, "this machine is out of memory");
  if (!(code = take_context(network, device)) && !(code = enter(network))) {
    if (!(code = load_code(network))) code = load_weights(network);
    code = leave(code);
  }
  if (code) {
    BNN(close)(network);
    return code;
  }
  *opened = network;
  return BNN_DONE;
}

void BNN(close)(struct bnn_network *network) {
  if (!network) return;
  if (network->context && !enter(network)) {
    if (network->weights) cu.cuMemFree_v2(network->weights);
    if (network->module) cu.cuModuleUnload(network->module);
    leave(BNN_DONE);
  }
  if (network->retained) cu.cuDevicePrimaryCtxRelease_v2(network->device);
  free(network);
}

int32_t BNN(device)(struct bnn_network *network) { return (int32_t)network->device; }

int32_t BNN(gpu)(struct bnn_network *network, char *gpu, int32_t size) {
  return checked(cu.cuDeviceGetName(gpu, size, network->device), "cuDeviceGetName");
}

const char *BNN(error)(void) { return bnn_text; }

/* Memory of the GPU for whoever has no library for it. */
int32_t BNN(allocate)(struct bnn_network *network, uint64_t bytes, void **memory) {
  CUdeviceptr at = 0;
  *memory = NULL;
  int32_t code = enter(network);
  if (code) return code;
  code = leave(checked(cu.cuMemAlloc_v2(&at, bytes ? bytes : 1), "cuMemAlloc"));
  if (code && at && !enter(network)) {
    cu.cuMemFree_v2(at);
    leave(BNN_DONE);
    at = 0;
  }
  *memory = (void *)(uintptr_t)at;
  return code;
}

void BNN(release)(struct bnn_network *network, void *memory) {
  if (enter(network)) return;
  cu.cuMemFree_v2((CUdeviceptr)(uintptr_t)memory);
  leave(BNN_DONE);
}

/* Copy from the GPU to the host, behind what is in ``stream``. */
int32_t BNN(fetch)(struct bnn_network *network, void *to, const void *memory, uint64_t bytes,
                   void *stream) {
  int32_t code = enter(network);
  if (code) return code;
  if (bytes)
    TRY(cuMemcpyDtoHAsync_v2, to, (CUdeviceptr)(uintptr_t)memory, (size_t)bytes, stream);
  TRY(cuStreamSynchronize, stream);
done:
  return leave(code);
}

#endif
