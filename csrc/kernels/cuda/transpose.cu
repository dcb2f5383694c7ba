// Transposes codes on a GPU, tile by tile.
#include <cuda_runtime.h>

#include "arithmetic/arguments.hpp"
#include "cuda/device.hpp"
#include "cuda/transposed.hpp"

namespace reft {
namespace {

__global__ void __launch_bounds__(kTileThreads)
    transpose(const __grid_constant__ reft_transpose_args args) {
  __shared__ Tile tile;
  const Place place;
  const E4M3* from = reinterpret_cast<const E4M3*>(args.codes) + place.column;
  Group<E4M3> codes[kTileDepth] = {};
#pragma unroll
  for (int i = 0; i < kTileDepth; ++i) {
    const std::int64_t row = place.row + i;
    if (place.column < args.columns && row < args.rows)
      codes[i] = load(from + row * args.row_stride);
  }
  write_transposed(tile, place, codes, args.out, args.columns, args.padded);
}

}  // namespace
}  // namespace reft

int reft_transpose(const reft_transpose_args* args, int device, void* stream) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  if (const int status = reft::use(device)) return status;
  reft::transpose<<<reft::tiles(args->columns, args->padded), reft::kTileThreads, 0,
                    static_cast<cudaStream_t>(stream)>>>(*args);
  return cudaGetLastError();
}
