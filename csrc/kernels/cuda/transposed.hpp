// Tiles of codes, read by rows and written by columns.
//
// A tile is 128 rows of 64 columns. A thread has eight columns of four rows that follow each other,
// so that a word of shared memory is four rows of a column; a warp then writes 128 bytes of a
// column at once. A row of the tile in shared memory has a word to spare, against bank conflicts.
#pragma once

#include <cuda_runtime.h>

#include "arithmetic/e4m3.hpp"

namespace reft {

constexpr int kTileThreads = 256;
constexpr int kTileDepth = 4;
constexpr int kTileColumns = 64;
constexpr int kTileWords = 32;
constexpr int kTileRows = kTileWords * kTileDepth;

using Tile = std::uint32_t[kTileColumns][kTileWords + 1];

// Blocks for all tiles.
inline dim3 tiles(int columns, int rows) {
  return dim3((rows + kTileRows - 1) / kTileRows, (columns + kTileColumns - 1) / kTileColumns);
}

// Where a thread's first row and column stand.
struct Place {
  int row = blockIdx.x * kTileRows + threadIdx.x / (kTileColumns / kGroup) * kTileDepth;
  int column = blockIdx.y * kTileColumns + threadIdx.x % (kTileColumns / kGroup) * kGroup;
};

// Writes a block's codes to [columns, padded]; those beyond the rows are zeros.
__device__ __forceinline__ void write_transposed(Tile& tile, const Place& place,
                                                 const Group<E4M3> (&codes)[kTileDepth],
                                                 std::uint8_t* out, int columns, int padded) {
#pragma unroll
  for (int j = 0; j < kGroup; ++j) {
    std::uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kTileDepth; ++i)
      word |= static_cast<std::uint32_t>(codes[i].x[j].bits) << 8 * i;
    tile[place.column % kTileColumns + j][place.row % kTileRows / kTileDepth] = word;
  }
  __syncthreads();
  const int word = threadIdx.x % kTileWords;
  const int row = blockIdx.x * kTileRows + word * kTileDepth;
  if (row >= padded) return;
  for (int c = threadIdx.x / kTileWords; c < kTileColumns; c += kTileThreads / kTileWords) {
    const std::int64_t column = blockIdx.y * kTileColumns + c;
    if (column >= columns) return;
    *reinterpret_cast<std::uint32_t*>(out + column * padded + row) = tile[c][word];
  }
}

}  // namespace reft
