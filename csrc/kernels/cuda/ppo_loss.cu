// PPO's losses on a GPU: a block of threads for each part, and one thread for the parts.
#include <cuda_runtime.h>

#include "arithmetic/ppo.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

__global__ void __launch_bounds__(kPpoLanes)
    ppo_loss(const __grid_constant__ reft_ppo_loss_args args) {
  __shared__ PpoSums lanes[kPpoLanes];
  const int lane = threadIdx.x, first = blockIdx.x * REFT_PART_TOKENS;
  PpoSums own;
  for (int i = lane; i < REFT_PART_TOKENS && first + i < args.tokens; i += kPpoLanes)
    take(args, first + i, own);
  lanes[lane] = own;
  for (int offset = kPpoLanes / 2; offset; offset /= 2) {
    __syncthreads();
    if (lane < offset) merge(lanes[lane], lanes[lane + offset]);
  }
  __syncthreads();
  if (lane < REFT_PPO_SUMS) args.parts[blockIdx.x * REFT_PPO_SUMS + lane] = lanes[0].of[lane];
}

__global__ void finish_ppo_loss(const __grid_constant__ reft_ppo_loss_args args) { finish(args); }

}  // namespace
}  // namespace reft

int reft_ppo_loss(const reft_ppo_loss_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (const int status = reft::use(device)) return status;
  const auto on = static_cast<cudaStream_t>(stream);
  const int parts = (args->tokens + REFT_PART_TOKENS - 1) / REFT_PART_TOKENS;
  if (parts) reft::ppo_loss<<<parts, reft::kPpoLanes, 0, on>>>(*args);
  if (const int status = cudaGetLastError()) return status;
  reft::finish_ppo_loss<<<1, 1, 0, on>>>(*args);
  return cudaGetLastError();
}
