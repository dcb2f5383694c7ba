// What is asked of arguments before anything is launched, and how indices are read.
#pragma once

#include "arithmetic/element.hpp"
#include "reft_kernels.h"

namespace reft {

constexpr int kLargestSize = 256;
constexpr int kBytes = 16;  // of a load

REFT_BOTH std::int64_t index_at(const reft_indices& indices, int i) {
  if (indices.wide) return static_cast<const std::int64_t*>(indices.data)[i];
  return static_cast<const std::int32_t*>(indices.data)[i];
}

// The cache row of row i of a batch; a number that is none is caught by the caller.
REFT_BOTH std::int64_t cache_row(const reft_indices& rows, int i) {
  return rows.data == nullptr ? i : index_at(rows, i);
}

inline bool aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % kBytes == 0;
}

// Strides of whole groups of eight are multiples of what a lane loads.
inline bool aligned(std::int64_t stride) { return stride % kGroup == 0; }

inline int check(const reft_cache& cache) {
  if (cache.dtype < REFT_BF16 || cache.dtype > REFT_E4M3) return REFT_BAD_DTYPE;
  if (cache.rows < 0 || cache.groups < 1 || cache.positions < 0) return REFT_BAD_SHAPE;
  if (cache.size < kGroup || cache.size > kLargestSize || cache.size % kGroup)
    return REFT_BAD_SHAPE;
  if (cache.position_stride < 0 || cache.positions * cache.position_stride > INT32_MAX)
    return REFT_BAD_SHAPE;
  if (!cache.keys || !cache.values) return REFT_NULL;
  if (cache.dtype == REFT_E4M3 && (!cache.key_scales || !cache.value_scales)) return REFT_NULL;
  const bool fits = aligned(cache.keys) && aligned(cache.values) && aligned(cache.row_stride) &&
                    aligned(cache.group_stride) && aligned(cache.position_stride);
  return fits ? REFT_OK : REFT_MISALIGNED;
}

// Tokens are as the cache, or of either type where it is quantised.
inline bool pairs(int dtype, const reft_cache& cache) {
  if (cache.dtype == REFT_E4M3) return dtype == REFT_BF16 || dtype == REFT_FP32;
  return dtype == cache.dtype;
}

inline int check(const reft_decode_attention_args& args) {
  if (const int status = check(args.cache)) return status;
  if (!pairs(args.dtype, args.cache)) return REFT_BAD_DTYPE;
  if (args.batch < 0 || args.heads < 1 || args.heads % args.cache.groups || args.window < 0)
    return REFT_BAD_SHAPE;
  if (!args.batch) return REFT_OK;  // an empty tensor has no pointer
  if (!args.out || !args.query || !args.lengths.data) return REFT_NULL;
  const bool fits = aligned(args.out) && aligned(args.query) && aligned(args.query_row_stride) &&
                    aligned(args.query_head_stride);
  return fits ? REFT_OK : REFT_MISALIGNED;
}

inline int check(const reft_append_args& args) {
  if (const int status = check(args.cache)) return status;
  if (!pairs(args.dtype, args.cache)) return REFT_BAD_DTYPE;
  if (args.batch < 0) return REFT_BAD_SHAPE;
  if (!args.batch) return REFT_OK;
  if (!args.key || !args.value || !args.positions.data) return REFT_NULL;
  const bool fits = aligned(args.key) && aligned(args.value) && aligned(args.key_row_stride) &&
                    aligned(args.key_group_stride) && aligned(args.value_row_stride) &&
                    aligned(args.value_group_stride);
  return fits ? REFT_OK : REFT_MISALIGNED;
}

inline int check(const reft_draw_args& args) {
  const bool fits = args.batch >= 0 && args.vocabulary > 0 && args.start >= 0 &&
                    args.start <= INT32_MAX - args.vocabulary && args.temperature > 0;
  if (!fits) return REFT_BAD_SHAPE;
  if (!args.batch) return REFT_OK;
  const bool there =
      args.logits && args.keys && args.positions && args.scores && args.tokens && args.chosen;
  return there ? REFT_OK : REFT_NULL;
}

inline const char* own_message(int status) {
  switch (status) {
    case REFT_OK: return "no error";
    case REFT_BAD_SHAPE: return "a shape that the kernel does not take";
    case REFT_BAD_DTYPE: return "a dtype that the kernel does not take";
    case REFT_MISALIGNED: return "a pointer or stride that is no multiple of 16 bytes";
    case REFT_NULL: return "a null pointer";
    default: return "an unknown status";
  }
}

}  // namespace reft
