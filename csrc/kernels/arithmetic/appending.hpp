// Where a new key and value go.
#pragma once

#include "arithmetic/arguments.hpp"
#include "arithmetic/e4m3.hpp"

namespace reft {

// Where the token of row `row` of a batch and a group stands in the cache: its first element and
// its scale. `there` is false if it goes nowhere.
struct Place {
  bool there;
  std::int64_t element;
  std::int64_t scale;
};

REFT_BOTH Place place_of(const reft_append_args& args, int row, int group) {
  const reft_cache& cache = args.cache;
  const std::int64_t stored = cache_row(args.rows, row);
  const std::int64_t position = index_at(args.positions, row);
  const bool there =
      stored >= 0 && stored < cache.rows && position >= 0 && position < cache.positions;
  return {there,
          stored * cache.row_stride + group * cache.group_stride + position * cache.position_stride,
          stored * cache.scale_row_stride + group * cache.scale_group_stride + position};
}

// Keys or values: what is read, and where it is written.
struct Stream {
  const void* tokens;
  std::int64_t row_stride;
  std::int64_t group_stride;
  void* cache;
  float* scales;
};

REFT_BOTH Stream stream_of(const reft_append_args& args, bool values) {
  if (values) {
    return {args.value, args.value_row_stride, args.value_group_stride, args.cache.values,
            args.cache.value_scales};
  }
  return {args.key, args.key_row_stride, args.key_group_stride, args.cache.keys,
          args.cache.key_scales};
}

}  // namespace reft
