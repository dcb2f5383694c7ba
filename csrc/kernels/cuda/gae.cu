// Generalised advantages on a GPU: a warp for each row, which it takes 32 columns at a time from
// the end. All that does not depend on what comes later is done by all lanes at once; the
// recurrence is every lane's, in step, so that each has its own entry at the end.
#include <cuda_runtime.h>

#include "arithmetic/advantage.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

constexpr int kLanes = 32;
constexpr unsigned kAll = 0xffffffffu;

__global__ void __launch_bounds__(kLanes) gae(const __grid_constant__ reft_gae_args args) {
  const int lane = threadIdx.x;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * args.columns;
  double next_value = 0, next_advantage = 0;
  for (int first = (args.columns - 1) / kLanes * kLanes; first >= 0; first -= kLanes) {
    const int column = first + lane;
    const bool there = column < args.columns;
    const double reward = there ? counted(args, args.rewards, row + column) : 0.0;
    const double value = there ? counted(args, args.values, row + column) : 0.0;
    double next = __shfl_down_sync(kAll, value, 1);
    if (lane == kLanes - 1) next = next_value;
    const double delta = delta_of(args, reward, value, next);
    double own = 0;
    for (int at = kLanes - 1; at >= 0; --at) {
      next_advantage = advantage_of(args, __shfl_sync(kAll, delta, at), next_advantage);
      if (at == lane) own = next_advantage;
    }
    if (there) write(args, row + column, own, value);
    next_value = __shfl_sync(kAll, value, 0);
  }
}

}  // namespace
}  // namespace reft

int reft_gae(const reft_gae_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows || !args->columns) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  reft::gae<<<args->rows, reft::kLanes, 0, static_cast<cudaStream_t>(stream)>>>(*args);
  return cudaGetLastError();
}
