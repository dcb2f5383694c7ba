// What the CUDA library says of itself.
#include <cuda_runtime.h>

#include "arithmetic/arguments.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

__global__ void nothing() {}

}  // namespace
}  // namespace reft

int reft_abi(void) { return REFT_KERNELS_ABI; }

const char* reft_target(void) { return "cuda " REFT_ARCHITECTURES; }

const char* reft_message(int status) {
  return status <= 0 ? reft::own_message(status)
                     : cudaGetErrorString(static_cast<cudaError_t>(status));
}

int reft_probe(int device) {
  if (const int status = reft::use(device)) return status;
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, reft::nothing);
}
