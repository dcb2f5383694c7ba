// Where a new key and value go.
#pragma once

#include "arithmetic/arguments.hpp"

namespace reft {

// The first element, in the cache, of the token of row `row` and a group; -1 if it goes nowhere.
REFT_BOTH std::int64_t place_of(const reft_append_args& args, int row, int group) {
  const reft_cache& cache = args.cache;
  const std::int64_t stored = cache_row(args.rows, row);
  const std::int64_t position = index_at(args.positions, row);
  const bool exists =
      stored >= 0 && stored < cache.rows && position >= 0 && position < cache.positions;
  if (!exists) return -1;
  return stored * cache.row_stride + group * cache.group_stride + position * cache.position_stride;
}

}  // namespace reft
