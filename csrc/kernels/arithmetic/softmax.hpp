// Softmax of a row of logits, of which log-prob and entropy are made, in one reading.
//
// Owns what is kept of a row while it is read, and in which order: column c goes to lane c %
// kSoftmaxLanes, and lanes are merged in a tree. Sums are relative to the largest logit, also that
// of the entropy: it would else be a difference of numbers as large as the logits.
#pragma once

#include "arithmetic/attention.hpp"

namespace reft {

constexpr int kSoftmaxLanes = 512;

struct Softmax {
  float top = kNone;
  float sum = 0;      // of e^(l - top)
  float shifted = 0;  // of (l - top) e^(l - top)
};

// The same relative to a larger top. Sums of nothing stay: -inf has no distance.
REFT_BOTH void raise(Softmax& state, float top) {
  const float by = state.top == kNone ? 0.0f : state.top - top;
  const float factor = expf(by);
  state.shifted = factor * fmaf(by, state.sum, state.shifted);
  state.sum *= factor;
  state.top = top;
}

// Takes in a logit; -inf adds nothing.
REFT_BOTH void see(Softmax& state, float logit) {
  if (logit == kNone) return;
  if (logit > state.top) raise(state, logit);
  const float by = logit - state.top;
  const float weight = expf(by);
  state.sum += weight;
  state.shifted = fmaf(by, weight, state.shifted);
}

REFT_BOTH void merge(Softmax& state, Softmax other) {
  const float top = fmaxf(state.top, other.top);
  raise(state, top);
  raise(other, top);
  state.sum += other.sum;
  state.shifted += other.shifted;
}

REFT_BOTH void write(const reft_softmax_args& args, int row, const Softmax& state) {
  args.tops[row] = state.top;
  args.sums[row] = state.sum;
  args.shifted[row] = state.shifted;
  const std::int64_t column = args.targets[row] - args.start;
  const bool here = column >= 0 && column < args.columns;
  args.picked[row] = here ? args.logits[row * args.row_stride + column] : 0.0f;
}

// One element of the gradient; the twin has it in the order of memory.
REFT_BOTH void write_gradient(const reft_softmax_gradient_args& args, int row, int column) {
  const float logit = args.logits[row * args.row_stride + column];
  const float chosen = args.targets[row] == args.start + std::int64_t{column} ? 1.0f : 0.0f;
  const float x = args.gradients[row] * (chosen - expf(logit - args.log_sums[row]));
  store_element(args.out, static_cast<std::int64_t>(row) * args.columns + column, args.dtype, x);
}

}  // namespace reft
