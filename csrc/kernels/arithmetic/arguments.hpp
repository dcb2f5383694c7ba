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

constexpr int kLargestRow = 16384;

inline bool is_float(int dtype) { return dtype == REFT_BF16 || dtype == REFT_FP32; }

inline int check(const reft_quantise_rows_args& args) {
  if (!is_float(args.dtype) || !is_float(args.vector_dtype)) return REFT_BAD_DTYPE;
  const bool fits = args.rows >= 0 && args.size >= kGroup && args.size <= kLargestRow &&
                    args.size % kGroup == 0 && args.source >= REFT_PLAIN &&
                    args.source <= REFT_GELU;
  if (!fits) return REFT_BAD_SHAPE;
  if (!args.rows) return REFT_OK;
  const bool normalises = args.source == REFT_LAYER_NORM;
  const bool there = args.codes && args.scales && args.x &&
                     (!normalises || (args.means && args.rstds && args.weight && args.bias));
  if (!there) return REFT_NULL;
  const bool lies = aligned(args.codes) && aligned(args.x) && aligned(args.row_stride) &&
                    aligned(args.weight) && aligned(args.bias);
  return lies ? REFT_OK : REFT_MISALIGNED;
}

inline bool pads(int rows, int columns, int padded) {
  return rows >= 0 && columns >= kGroup && columns % kGroup == 0 && padded >= rows &&
         padded % 16 == 0;
}

inline int check(const reft_quantise_columns_args& args) {
  if (!is_float(args.dtype) || !is_float(args.vector_dtype)) return REFT_BAD_DTYPE;
  if (!pads(args.rows, args.columns, args.padded)) return REFT_BAD_SHAPE;
  if (!args.rows) return REFT_OK;
  const bool there = args.column_codes && args.column_scales && args.tops && args.dy &&
                     !args.row_codes == !args.row_scales && !args.sums == !args.parts;
  if (!there) return REFT_NULL;
  const bool lies = aligned(args.column_codes) && aligned(args.row_codes) && aligned(args.dy) &&
                    aligned(args.x) && aligned(args.bias) && aligned(args.dy_stride) &&
                    aligned(args.x_stride);
  return lies ? REFT_OK : REFT_MISALIGNED;
}

inline int check(const reft_transpose_args& args) {
  if (!pads(args.rows, args.columns, args.padded)) return REFT_BAD_SHAPE;
  if (!args.rows) return REFT_OK;
  if (!args.out || !args.codes) return REFT_NULL;
  const bool lies = aligned(args.out) && aligned(args.codes) && aligned(args.row_stride);
  return lies ? REFT_OK : REFT_MISALIGNED;
}

inline int check(const reft_softmax_args& args) {
  if (args.rows < 0 || args.columns < 0 || args.start < 0) return REFT_BAD_SHAPE;
  if (!args.rows) return REFT_OK;
  const bool there = (args.logits || !args.columns) && args.targets && args.tops && args.sums &&
                     args.shifted && args.picked;
  return there ? REFT_OK : REFT_NULL;
}

inline int check(const reft_softmax_gradient_args& args) {
  if (!is_float(args.dtype)) return REFT_BAD_DTYPE;
  if (args.rows < 0 || args.columns < 0 || args.start < 0) return REFT_BAD_SHAPE;
  if (!args.rows || !args.columns) return REFT_OK;
  const bool there = args.out && args.logits && args.targets && args.log_sums && args.gradients;
  return there ? REFT_OK : REFT_NULL;
}

inline int check(const reft_gae_args& args) {
  if (args.rows < 0 || args.columns < 0) return REFT_BAD_SHAPE;
  if (!args.rows || !args.columns) return REFT_OK;
  const bool there = args.advantages && args.returns && args.rewards && args.values && args.mask;
  return there ? REFT_OK : REFT_NULL;
}

inline int check(const reft_ppo_loss_args& args) {
  if (args.tokens < 0 || args.tokens > INT32_MAX - REFT_PART_TOKENS) return REFT_BAD_SHAPE;
  if (!args.sums) return REFT_NULL;
  if (!args.tokens) return REFT_OK;
  const bool there = args.logprob_gradients && args.value_gradients && args.parts &&
                     args.logprobs && args.values && args.mask && args.weights &&
                     args.old_logprobs && args.old_values && args.advantages && args.returns;
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
