// Quantises rows on a GPU, as they are or through LayerNorm or GELU: a block for each row, which
// holds it in registers.
#include <cuda_runtime.h>

#include "arithmetic/quantising.hpp"
#include "cuda/device.hpp"

namespace reft {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = kRowThreads / kWarp;
constexpr unsigned kAll = 0xffffffff;

// Of all threads, in the order that arithmetic/quantising.hpp tells.
__device__ __forceinline__ float sum_over_block(float x, float (&shared)[kWarps]) {
  for (int offset = kWarp / 2; offset; offset /= 2) x += __shfl_xor_sync(kAll, x, offset);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp];
  return sum;
}

__device__ __forceinline__ std::uint32_t largest_over_block(std::uint32_t x,
                                                            std::uint32_t (&shared)[kWarps]) {
  x = __reduce_max_sync(kAll, x);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  std::uint32_t largest = 0;
  for (int warp = 0; warp < kWarps; ++warp) largest = max(largest, shared[warp]);
  return largest;
}

// Held groups a thread, enough for the row; those beyond it hold zeros.
template <class T, int Source, int Held>
__global__ void __launch_bounds__(kRowThreads)
    quantise_rows(const __grid_constant__ reft_quantise_rows_args args) {
  __shared__ float sums[2][kWarps];
  __shared__ std::uint32_t tops[kWarps];
  const int row = blockIdx.x;
  const T* x = static_cast<const T*>(args.x) + row * args.row_stride;
  const auto at = [](int i) { return (i * kRowThreads + static_cast<int>(threadIdx.x)) * kGroup; };

  float wide[Held][kGroup] = {};
#pragma unroll
  for (int i = 0; i < Held; ++i)
    if (at(i) < args.size) widen(load(x + at(i)), wide[i]);

  if constexpr (Source == REFT_LAYER_NORM) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < Held; ++i)
      for (int j = 0; j < kGroup; ++j) sum += wide[i][j];
    const float mean = sum_over_block(sum, sums[0]) / static_cast<float>(args.size);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < Held; ++i)
      if (at(i) < args.size) squares = add_squares(wide[i], mean, squares);
    const float rstd = rstd_of(sum_over_block(squares, sums[1]), args.size, args.eps);
#pragma unroll
    for (int i = 0; i < Held; ++i)
      if (at(i) < args.size) normalise(args, at(i), mean, rstd, wide[i]);
    if (threadIdx.x == 0) {
      args.means[row] = mean;
      args.rstds[row] = rstd;
    }
  } else if constexpr (Source == REFT_GELU) {
#pragma unroll
    for (int i = 0; i < Held; ++i)
      if (at(i) < args.size) activate(args, at(i), wide[i]);
  }

  std::uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < Held; ++i) largest = max(largest, largest_of(wide[i]));
  largest = largest_over_block(largest, tops);
  const Scale scale = scale_of(largest);
  E4M3* codes = reinterpret_cast<E4M3*>(args.codes) + static_cast<std::int64_t>(row) * args.size;
#pragma unroll
  for (int i = 0; i < Held; ++i)
    if (at(i) < args.size) store(codes + at(i), quantised(wide[i], scale.encode));
  if (threadIdx.x == 0) args.scales[row] = scale.decode;
  if (threadIdx.x == 0 && largest >= kInfinity && args.faults) atomicAdd(args.faults, 1);
}

template <class T, int Source>
int launch(const reft_quantise_rows_args& args, cudaStream_t stream) {
  if (args.size <= 2 * kRowThreads * kGroup)
    quantise_rows<T, Source, 2><<<args.rows, kRowThreads, 0, stream>>>(args);
  else
    quantise_rows<T, Source, kLargestRow / kRowThreads / kGroup>
        <<<args.rows, kRowThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template <class T>
int launch(const reft_quantise_rows_args& args, cudaStream_t stream) {
  switch (args.source) {
    case REFT_PLAIN: return launch<T, REFT_PLAIN>(args, stream);
    case REFT_LAYER_NORM: return launch<T, REFT_LAYER_NORM>(args, stream);
    default: return launch<T, REFT_GELU>(args, stream);
  }
}

}  // namespace
}  // namespace reft

int reft_quantise_rows(const reft_quantise_rows_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  const auto on = static_cast<cudaStream_t>(stream);
  switch (args->dtype) {
    case REFT_BF16: return reft::launch<reft::Bf16>(*args, on);
    default: return reft::launch<float>(*args, on);
  }
}
