// What is quantised, and in which order it is summed.
//
// Rows: a block of kRowThreads lanes has a row, of which lane l holds the groups l, l +
// kRowThreads, ...; sums are of a lane, of its warp in a tree, of the warps in their order.
// Columns: a part is REFT_PART_ROWS rows; its kTileWarps warps take the rows w, w + kTileWarps, ...
// each; sums are of a warp's rows, of the warps, and of the parts in their order. None of it
// depends on how many rows there are. Maxima and codes have no order.
#pragma once

#include "arithmetic/arguments.hpp"
#include "arithmetic/e4m3.hpp"
#include "arithmetic/gelu.hpp"

namespace reft {

constexpr int kRowThreads = 256;
constexpr int kTileWarps = 8;
constexpr int kPartRows = REFT_PART_ROWS;

// Vectors of any of the types, which is known when the kernel runs.
REFT_BOTH void load_vector(const void* from, int at, int dtype, float (&wide)[kGroup]) {
  if (dtype == REFT_BF16) widen(load(static_cast<const Bf16*>(from) + at), wide);
  else widen(load(static_cast<const float*>(from) + at), wide);
}

REFT_BOTH float rstd_of(float squares, int size, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(size) + eps);
}

// Squares of the distances from the mean, added to `sum`.
REFT_BOTH float add_squares(const float (&x)[kGroup], float mean, float sum) {
  for (int i = 0; i < kGroup; ++i) sum = fmaf(x[i] - mean, x[i] - mean, sum);
  return sum;
}

REFT_BOTH void normalise(const reft_quantise_rows_args& args, int at, float mean, float rstd,
                         float (&x)[kGroup]) {
  float weight[kGroup], bias[kGroup];
  load_vector(args.weight, at, args.vector_dtype, weight);
  load_vector(args.bias, at, args.vector_dtype, bias);
  for (int i = 0; i < kGroup; ++i) x[i] = fmaf((x[i] - mean) * rstd, weight[i], bias[i]);
}

REFT_BOTH void activate(const reft_quantise_rows_args& args, int at, float (&x)[kGroup]) {
  float bias[kGroup] = {};
  if (args.bias) load_vector(args.bias, at, args.vector_dtype, bias);
  for (int i = 0; i < kGroup; ++i) x[i] = gelu(x[i] + bias[i]);
}

// The gradient of a group of eight: dy, or dy * gelu'(x + bias).
template <class T, bool Slope>
REFT_BOTH void load_gradient(const reft_quantise_columns_args& args, int row, int at,
                             float (&wide)[kGroup]) {
  widen(load(static_cast<const T*>(args.dy) + row * args.dy_stride + at), wide);
  if (!Slope) return;
  float x[kGroup], bias[kGroup] = {};
  widen(load(static_cast<const T*>(args.x) + row * args.x_stride + at), x);
  if (args.bias) load_vector(args.bias, at, args.vector_dtype, bias);
  for (int i = 0; i < kGroup; ++i) wide[i] *= gelu_slope(x[i] + bias[i]);
}

REFT_BOTH float fold_of(const reft_quantise_columns_args& args, int row) {
  return args.fold ? args.fold[row] : 1.0f;
}

}  // namespace reft
