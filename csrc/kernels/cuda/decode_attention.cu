// Decode attention on a GPU: a block for each row and up to kHeadsOf heads of a group.
//
// The arithmetic stands in arithmetic/attention.hpp; here is only how lanes and warps talk. A block
// whose row is short or idle leaves early: the grid knows shapes alone.
#include <cuda_runtime.h>

#include "arithmetic/arguments.hpp"
#include "arithmetic/attention.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

constexpr unsigned kAll = 0xffffffff;

template <int Lanes>
__device__ __forceinline__ float sum_over_lanes(float x) {
  for (int offset = Lanes / 2; offset; offset /= 2) x += __shfl_xor_sync(kAll, x, offset);
  return x;
}

__device__ __forceinline__ State<kGroup> state_at(const State<kGroup>& state, int offset) {
  State<kGroup> other;
  other.top = __shfl_xor_sync(kAll, state.top, offset);
  other.sum = __shfl_xor_sync(kAll, state.sum, offset);
  for (int i = 0; i < kGroup; ++i) other.out[i] = __shfl_xor_sync(kAll, state.out[i], offset);
  return other;
}

// What a warp has to say to the others of its block.
template <int Lanes, int Heads>
struct Shared {
  float top[Heads][kWarps];
  float sum[Heads][kWarps];
  float out[Heads][kWarps][Lanes * kGroup];
};

template <int Lanes, int Heads>
__device__ __forceinline__ State<1> merged(const Shared<Lanes, Heads>& shared, int head, int i) {
  State<1> state;
  for (int warp = 0; warp < kWarps; ++warp) {
    State<1> other;
    other.top = shared.top[head][warp];
    other.sum = shared.sum[head][warp];
    other.out[0] = shared.out[head][warp][i];
    merge(state, other);
  }
  return state;
}

// One block: heads head .. head + Heads - 1 of row `row` of the batch, those of them that are below
// `heads`. Lanes beyond the head size hold zeros.
template <class T, int Lanes, int Heads>
__global__ void __launch_bounds__(kThreads, 2)
    attend(const __grid_constant__ reft_decode_attention_args args, int chunks) {
  constexpr int kStates = kThreads / Lanes;
  constexpr int kUnroll = kUnrollOf<Heads>;
  const reft_cache& cache = args.cache;
  const int each = args.heads / cache.groups;
  const int row = blockIdx.x / (cache.groups * chunks);
  const int group = blockIdx.x / chunks % cache.groups;
  const int begin = blockIdx.x % chunks * Heads;
  const int lane = threadIdx.x % Lanes;
  const int own = threadIdx.x / Lanes;
  const bool holds = lane * kGroup < cache.size;
  const int step = static_cast<int>(cache.position_stride);  // checked to suffice within a row

  const std::int64_t stored = cache_row(args.rows, row);
  const Span span = span_of(args, row, stored);
  const std::int64_t at = stored * cache.row_stride + group * cache.group_stride + lane * kGroup;
  const T* keys = static_cast<const T*>(cache.keys) + at;
  const T* values = static_cast<const T*>(cache.values) + at;

  const Scales<T> scales(cache, stored, group);
  const int end = holds ? span.end : 0;

  float query[Heads][kGroup] = {};
  State<kGroup> states[Heads];
#pragma unroll
  for (int h = 0; h < Heads; ++h) {
    if (!holds || begin + h >= each) continue;
    const int head = group * each + begin + h;
    const std::int64_t from = row * args.query_row_stride + head * args.query_head_stride;
    load_token(args.query, from + lane * kGroup, args.dtype, query[h]);
    for (int i = 0; i < kGroup; ++i) query[h][i] *= args.scale * kLog2E;
  }

  for (int start = span.first; start < span.end; start += kStates * kUnroll) {
    Group<T> key[kUnroll] = {};
    Group<T> value[kUnroll] = {};
    float key_scale[kUnroll];
    float value_scale[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int position = start + u * kStates + own;
      key_scale[u] = value_scale[u] = 0;
      if (position >= end) continue;
      key_scale[u] = scales.of_key(position);
      value_scale[u] = scales.of_value(position);
      key[u] = load(keys + position * step);
      value[u] = load(values + position * step);
    }
    float scores[Heads][kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float wide[kGroup];
      widen(key[u], wide);
      const bool counts = start + u * kStates + own < end;
#pragma unroll
      for (int h = 0; h < Heads; ++h) {
        const float score = sum_over_lanes<Lanes>(dot(query[h], wide));
        scores[h][u] = counts ? score * key_scale[u] : kNone;
      }
    }
#pragma unroll
    for (int h = 0; h < Heads; ++h) weigh(states[h], scores[h]);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float wide[kGroup];
      widen(value[u], wide);
#pragma unroll
      for (int h = 0; h < Heads; ++h) add(states[h], scores[h][u] * value_scale[u], wide);
    }
  }

  __shared__ Shared<Lanes, Heads> shared;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int h = 0; h < Heads; ++h) {
    for (int offset = Lanes; offset < kWarp; offset *= 2)
      merge(states[h], state_at(states[h], offset));
    if (threadIdx.x % kWarp >= Lanes) continue;
    if (lane == 0) shared.top[h][warp] = states[h].top;
    if (lane == 0) shared.sum[h][warp] = states[h].sum;
    for (int i = 0; i < kGroup; ++i) shared.out[h][warp][lane * kGroup + i] = states[h].out[i];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < Heads * cache.size; i += kThreads) {
    const int h = i / cache.size;
    if (begin + h >= each) break;
    const State<1> state = merged(shared, h, i % cache.size);
    const std::int64_t head =
        static_cast<std::int64_t>(row) * args.heads + group * each + begin + h;
    store_element(args.out, head * cache.size + i % cache.size, args.dtype,
                  span.end > span.first ? state.out[0] / state.sum : 0.0f);
  }
}

template <class T, int Lanes, int Heads>
int launch(const reft_decode_attention_args& args, cudaStream_t stream) {
  const int chunks = (args.heads / args.cache.groups + Heads - 1) / Heads;
  attend<T, Lanes, Heads>
      <<<args.batch * args.cache.groups * chunks, kThreads, 0, stream>>>(args, chunks);
  return cudaGetLastError();
}

template <class T, int Lanes>
int launch(const reft_decode_attention_args& args, cudaStream_t stream) {
  if (args.heads == args.cache.groups) return launch<T, Lanes, 1>(args, stream);
  return launch<T, Lanes, kHeadsOf<T>>(args, stream);
}

template <class T>
int launch(const reft_decode_attention_args& args, cudaStream_t stream) {
  switch (lanes_of(args.cache.size)) {
    case 8: return launch<T, 8>(args, stream);
    case 16: return launch<T, 16>(args, stream);
    default: return launch<T, 32>(args, stream);
  }
}

}  // namespace
}  // namespace reft

int reft_decode_attention(const reft_decode_attention_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->batch) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  const auto on = static_cast<cudaStream_t>(stream);
  switch (args->cache.dtype) {
    case REFT_BF16: return reft::launch<reft::Bf16>(*args, on);
    case REFT_FP32: return reft::launch<float>(*args, on);
    default: return reft::launch<reft::E4M3>(*args, on);
  }
}
