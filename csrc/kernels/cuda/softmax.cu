// Softmax of logits on a GPU, and its gradient: a block of threads for each row, which is read
// once.
#include <cuda_runtime.h>

#include "arithmetic/softmax.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

__global__ void __launch_bounds__(kSoftmaxLanes)
    softmax(const __grid_constant__ reft_softmax_args args) {
  __shared__ Softmax lanes[kSoftmaxLanes];
  const int row = blockIdx.x;
  const float* logits = args.logits + row * args.row_stride;
  Softmax own;
#pragma unroll 4
  for (int column = threadIdx.x; column < args.columns; column += kSoftmaxLanes)
    see(own, logits[column]);
  lanes[threadIdx.x] = own;
  for (int offset = kSoftmaxLanes / 2; offset; offset /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < offset)
      merge(lanes[threadIdx.x], lanes[threadIdx.x + offset]);
  }
  if (threadIdx.x == 0) write(args, row, lanes[0]);
}

__global__ void __launch_bounds__(kSoftmaxLanes)
    softmax_gradient(const __grid_constant__ reft_softmax_gradient_args args) {
#pragma unroll 4
  for (int column = threadIdx.x; column < args.columns; column += kSoftmaxLanes)
    write_gradient(args, blockIdx.x, column);
}

}  // namespace
}  // namespace reft

int reft_softmax(const reft_softmax_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  reft::softmax<<<args->rows, reft::kSoftmaxLanes, 0, static_cast<cudaStream_t>(stream)>>>(*args);
  return cudaGetLastError();
}

int reft_softmax_gradient(const reft_softmax_gradient_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows || !args->columns) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  reft::softmax_gradient<<<args->rows, reft::kSoftmaxLanes, 0, static_cast<cudaStream_t>(stream)>>>(
      *args);
  return cudaGetLastError();
}
