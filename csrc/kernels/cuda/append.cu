// Appends keys and values to the cache on a GPU: a warp for the key and one for the value of each
// row and group, eight elements a lane.
#include <cuda_runtime.h>

#include "arithmetic/appending.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr unsigned kAll = 0xffffffff;

// T of the tokens. Lanes beyond the head size hold zeros.
template <class T, bool Quantised>
__global__ void __launch_bounds__(kWarp* kWarps)
    append(const __grid_constant__ reft_append_args args) {
  const int item = blockIdx.x * kWarps + threadIdx.x / kWarp;
  const int row = item / 2 / args.cache.groups;
  const int group = item / 2 % args.cache.groups;
  if (row >= args.batch) return;
  const Stream stream = stream_of(args, item % 2);
  const Place place = place_of(args, row, group);
  if (!place.there) return;

  const int lane = threadIdx.x % kWarp;
  const bool holds = lane * kGroup < args.cache.size;
  const std::int64_t from = row * stream.row_stride + group * stream.group_stride + lane * kGroup;
  const std::int64_t to = place.element + lane * kGroup;
  Group<T> fresh = {};
  if (holds) fresh = load(static_cast<const T*>(stream.tokens) + from);
  if constexpr (Quantised) {
    float wide[kGroup];
    widen(fresh, wide);
    const std::uint32_t largest = __reduce_max_sync(kAll, largest_of(wide));
    const Scale scale = scale_of(largest);
    if (holds) store(static_cast<E4M3*>(stream.cache) + to, quantised(wide, scale.encode));
    if (lane == 0) stream.scales[place.scale] = scale.decode;
    if (lane == 0 && largest >= kInfinity && args.faults) atomicAdd(args.faults, 1);
  } else {
    if (holds) store(static_cast<T*>(stream.cache) + to, fresh);
  }
}

template <class T>
int launch(const reft_append_args& args, cudaStream_t stream) {
  const int blocks = (2 * args.batch * args.cache.groups + kWarps - 1) / kWarps;
  if (args.cache.dtype == REFT_E4M3) append<T, true><<<blocks, kWarp * kWarps, 0, stream>>>(args);
  else append<T, false><<<blocks, kWarp * kWarps, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace
}  // namespace reft

int reft_append(const reft_append_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->batch) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  const auto on = static_cast<cudaStream_t>(stream);
  if (args->dtype == REFT_BF16) return reft::launch<reft::Bf16>(*args, on);
  return reft::launch<float>(*args, on);
}
