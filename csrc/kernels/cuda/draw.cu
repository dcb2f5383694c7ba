// Draws tokens on a GPU: a block of threads for each row, which is read once.
#include <cuda_runtime.h>

#include "arithmetic/drawing.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

__global__ void __launch_bounds__(kDrawLanes) draw(const __grid_constant__ reft_draw_args args) {
  __shared__ Draw lanes[kDrawLanes];
  const int row = blockIdx.x;
  const std::int32_t first = first_block(args);
  // The first of this lane's blocks that is not before `first`.
  const std::int32_t ahead =
      (static_cast<std::int32_t>(threadIdx.x) - first % kDrawLanes + kDrawLanes);
  Draw own;
  for (std::int32_t block = first + ahead % kDrawLanes; block < end_block(args);
       block += kDrawLanes)
    see(args, row, block, kNone, own);
  lanes[threadIdx.x] = own;
  for (int offset = kDrawLanes / 2; offset; offset /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < offset)
      merge(lanes[threadIdx.x], lanes[threadIdx.x + offset]);
  }
  if (threadIdx.x == 0) write(args, row, lanes[0]);
}

}  // namespace
}  // namespace reft

int reft_draw(const reft_draw_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->batch) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  reft::draw<<<args->batch, reft::kDrawLanes, 0, static_cast<cudaStream_t>(stream)>>>(*args);
  return cudaGetLastError();
}
