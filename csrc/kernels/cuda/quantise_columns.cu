// Quantises a gradient on a GPU by columns, and by rows, in two readings: one surveys how large
// rows and columns are, one writes codes; between them a thread for each row and column settles its
// scale.
#include <cuda_runtime.h>

#include "arithmetic/quantising.hpp"
#include "cuda/device.hpp"
#include "cuda/transposed.hpp"

namespace reft {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffff;
constexpr int kSurveyColumns = kWarp * kGroup;
constexpr int kEach = kPartRows / kTileWarps;  // rows of a warp

// What a warp has seen of a part's columns.
struct Seen {
  float sum[kTileWarps][kSurveyColumns];
  std::uint32_t top[kTileWarps][kSurveyColumns];
};

// A block for a part and 256 of its columns, a warp for every eighth row.
template <class T, bool Slope>
__global__ void __launch_bounds__(kTileWarps* kWarp)
    survey(const __grid_constant__ reft_quantise_columns_args args) {
  __shared__ Seen seen;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int at = blockIdx.x * kSurveyColumns + lane * kGroup;
  float sum[kGroup] = {};
  std::uint32_t top[kGroup] = {};
  std::uint32_t row_tops[kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int row = blockIdx.y * kPartRows + i * kTileWarps + warp;
    if (row >= args.rows || at >= args.columns) continue;
    float wide[kGroup];
    load_gradient<T, Slope>(args, row, at, wide);
    const float fold = fold_of(args, row);
    row_tops[i] = largest_of(wide);
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      sum[j] += wide[j];
      top[j] = max(top[j], magnitude(wide[j] * fold));
    }
  }
  if (args.row_codes) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int row = blockIdx.y * kPartRows + i * kTileWarps + warp;
      const std::uint32_t largest = __reduce_max_sync(kAll, row_tops[i]);
      if (lane == 0 && row < args.rows) atomicMax(args.tops + row, largest);
    }
  }
#pragma unroll
  for (int j = 0; j < kGroup; ++j) {
    seen.sum[warp][lane * kGroup + j] = sum[j];
    seen.top[warp][lane * kGroup + j] = top[j];
  }
  __syncthreads();
  const int column = blockIdx.x * kSurveyColumns + threadIdx.x;
  if (column >= args.columns) return;
  float total = 0;
  std::uint32_t largest = 0;
  for (int w = 0; w < kTileWarps; ++w) {
    total += seen.sum[w][threadIdx.x];
    largest = max(largest, seen.top[w][threadIdx.x]);
  }
  if (args.parts) args.parts[static_cast<std::int64_t>(blockIdx.y) * args.columns + column] = total;
  atomicMax(args.tops + args.rows + column, largest);
}

// What was surveyed becomes scales, in its place what values are multiplied with.
__global__ void __launch_bounds__(kTileWarps* kWarp)
    settle(const __grid_constant__ reft_quantise_columns_args args) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int column = i - args.rows;
  if (column >= args.columns || (column < 0 && !args.row_codes)) return;
  const std::uint32_t largest = args.tops[i];
  const Scale scale = scale_of(largest);
  args.tops[i] = bits_of<std::uint32_t>(scale.encode);
  if (largest >= kInfinity && args.faults) atomicAdd(args.faults, 1);
  if (column < 0) {
    args.row_scales[i] = scale.decode;
    return;
  }
  args.column_scales[column] = scale.decode;
  if (!args.sums) return;
  float sum = 0;
  for (int part = 0; part < (args.rows + kPartRows - 1) / kPartRows; ++part)
    sum += args.parts[static_cast<std::int64_t>(part) * args.columns + column];
  args.sums[column] = sum;
}

// A block for a tile, a thread for eight columns of four rows.
template <class T, bool Slope>
__global__ void __launch_bounds__(kTileThreads)
    write_codes(const __grid_constant__ reft_quantise_columns_args args) {
  __shared__ Tile tile;
  const Place place;
  float encode[kGroup] = {};
  const bool holds = place.column < args.columns;
  if (holds) {
#pragma unroll
    for (int j = 0; j < kGroup; ++j)
      encode[j] = bits_of<float>(args.tops[args.rows + place.column + j]);
  }
  Group<E4M3> codes[kTileDepth] = {};
#pragma unroll
  for (int i = 0; i < kTileDepth; ++i) {
    const int row = place.row + i;
    if (!holds || row >= args.rows) continue;
    float wide[kGroup];
    load_gradient<T, Slope>(args, row, place.column, wide);
    if (args.row_codes) {
      E4M3* to = reinterpret_cast<E4M3*>(args.row_codes) +
                 static_cast<std::int64_t>(row) * args.columns + place.column;
      store(to, quantised(wide, bits_of<float>(args.tops[row])));
    }
    const float fold = fold_of(args, row);
#pragma unroll
    for (int j = 0; j < kGroup; ++j) wide[j] = wide[j] * fold * encode[j];
    codes[i] = narrow<E4M3>(wide);
  }
  write_transposed(tile, place, codes, args.column_codes, args.columns, args.padded);
}

template <class T, bool Slope>
int launch(const reft_quantise_columns_args& args, cudaStream_t stream) {
  const std::size_t bytes = sizeof *args.tops * (args.rows + args.columns);
  if (const int status = cudaMemsetAsync(args.tops, 0, bytes, stream)) return status;
  const dim3 parts((args.columns + kSurveyColumns - 1) / kSurveyColumns,
                   (args.rows + kPartRows - 1) / kPartRows);
  survey<T, Slope><<<parts, kTileWarps * kWarp, 0, stream>>>(args);
  const int threads = kTileWarps * kWarp;
  settle<<<(args.rows + args.columns + threads - 1) / threads, threads, 0, stream>>>(args);
  write_codes<T, Slope><<<tiles(args.columns, args.padded), kTileThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template <class T>
int launch(const reft_quantise_columns_args& args, cudaStream_t stream) {
  return args.x ? launch<T, true>(args, stream) : launch<T, false>(args, stream);
}

}  // namespace
}  // namespace reft

int reft_quantise_columns(const reft_quantise_columns_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  const auto on = static_cast<cudaStream_t>(stream);
  switch (args->dtype) {
    case REFT_BF16: return reft::launch<reft::Bf16>(*args, on);
    default: return reft::launch<float>(*args, on);
  }
}
