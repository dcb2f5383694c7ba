// The device that a call is about.
//
// This library has a CUDA runtime of its own, which need not know the device that the caller's has
// chosen; both share its primary context. The caller has made that device current for the thread,
// and puts back what it wants afterwards: restoring here could wake a device that nobody uses.
#pragma once

#include <cuda_runtime.h>

namespace reft {

// Makes a device the current one; returns a cudaError_t.
inline int use(int device) {
  int current = 0;
  if (const int status = cudaGetDevice(&current)) return status;
  return current == device ? cudaSuccess : cudaSetDevice(device);
}

}  // namespace reft
