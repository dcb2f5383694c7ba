// The device that a call is about.
//
// This library has a CUDA runtime of its own, which need not know the device that the caller's has
// chosen; both share its primary context.
#pragma once

#include <cuda_runtime.h>

namespace reft {

// Makes a device the current one while it lives.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    status = cudaGetDevice(&before_);
    if (!status && before_ != device) status = cudaSetDevice(device);
    changed_ = !status && before_ != device;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  int status;  // a cudaError_t

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace reft
