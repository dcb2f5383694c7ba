// Appends keys and values to the cache on a GPU: a warp for each row and group, eight elements a
// lane.
#include <cuda_runtime.h>

#include "arithmetic/appending.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;

template <class T>
__global__ void __launch_bounds__(kWarp* kWarps)
    append(const __grid_constant__ reft_append_args args) {
  const int item = blockIdx.x * kWarps + threadIdx.x / kWarp;
  const int row = item / args.cache.groups;
  const int group = item % args.cache.groups;
  const int lane = threadIdx.x % kWarp * kGroup;
  if (row >= args.batch || lane >= args.cache.size) return;
  const std::int64_t at = place_of(args, row, group);
  if (at < 0) return;
  const T* key = static_cast<const T*>(args.key) + row * args.key_row_stride;
  const T* value = static_cast<const T*>(args.value) + row * args.value_row_stride;
  store(static_cast<T*>(args.cache.keys) + at + lane,
        load(key + group * args.key_group_stride + lane));
  store(static_cast<T*>(args.cache.values) + at + lane,
        load(value + group * args.value_group_stride + lane));
}

}  // namespace
}  // namespace reft

int reft_append(const reft_append_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->batch) return REFT_OK;
  const reft::OnDevice there(device);
  if (there.status) return there.status;
  const int blocks = (args->batch * args->cache.groups + reft::kWarps - 1) / reft::kWarps;
  const auto on = static_cast<cudaStream_t>(stream);
  constexpr int kThreads = reft::kWarp * reft::kWarps;
  if (args->cache.dtype == REFT_BF16) reft::append<reft::Bf16><<<blocks, kThreads, 0, on>>>(*args);
  else reft::append<float><<<blocks, kThreads, 0, on>>>(*args);
  return cudaGetLastError();
}
