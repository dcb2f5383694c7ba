// PPO's clipped losses of a token, and their gradients.
//
// Owns the terms of a token, and which are summed together: lane l of a part takes its tokens l, l
// + kPpoLanes, ...; lanes are merged in a tree, parts in their order. Where both sides of a maximum
// are equal, each has half of the gradient, and a limit still belongs to the range: as in torch.
#pragma once

#include "arithmetic/arguments.hpp"

namespace reft {

constexpr int kPpoLanes = 256;

struct PpoSums {
  double of[REFT_PPO_SUMS] = {};
};

REFT_BOTH void merge(PpoSums& sums, const PpoSums& other) {
  for (int i = 0; i < REFT_PPO_SUMS; ++i) sums.of[i] += other.of[i];
}

// NaN stays NaN.
REFT_BOTH float clamp(float x, float low, float high) {
  return x < low ? low : x > high ? high : x;
}

REFT_BOTH bool within(float x, float low, float high) { return x >= low && x <= high; }

// The larger, with the share of the gradient that the first one has.
REFT_BOTH float larger(float first, float second, float& share) {
  share = first > second ? 1.0f : first == second ? 0.5f : 0.0f;
  return first > second || first != first ? first : second;
}

// Writes the gradients of a token, and adds its terms.
REFT_BOTH void take(const reft_ppo_loss_args& args, int token, PpoSums& sums) {
  args.logprob_gradients[token] = args.value_gradients[token] = 0;
  if (!args.mask[token]) return;
  const float clip = static_cast<float>(args.clip_range), weight = args.weights[token];
  float share;

  const float log_ratio = args.logprobs[token] - args.old_logprobs[token];
  const float ratio = expf(log_ratio), advantage = args.advantages[token];
  const float low = static_cast<float>(1 - args.clip_range);
  const float high = static_cast<float>(1 + args.clip_range);
  const float plain = -advantage * ratio, clipped = -advantage * clamp(ratio, low, high);
  const float counts = weight * (args.importance ? args.importance[token] : 1.0f);
  sums.of[0] += static_cast<double>(counts) * larger(plain, clipped, share);
  if (!within(ratio, low, high)) args.logprob_gradients[token] = counts * share * plain;
  else args.logprob_gradients[token] = counts * plain;

  const float value = args.values[token], old = args.old_values[token];
  const float target = args.returns[token], near = clamp(value, old - clip, old + clip);
  const float off = value - target, near_off = near - target;
  sums.of[1] += 0.5 * static_cast<double>(weight) * larger(off * off, near_off * near_off, share);
  const float slope =
      share * off + (within(value, old - clip, old + clip) ? (1 - share) * near_off : 0);
  args.value_gradients[token] = static_cast<float>(args.value_coef) * weight * slope;

  sums.of[2] += static_cast<double>(weight) * ratio;
  sums.of[3] += static_cast<double>(weight) * (expm1f(log_ratio) - log_ratio);
  sums.of[4] += static_cast<double>(clipped > plain ? weight : 0.0f);
}

// Puts the parts together.
REFT_BOTH void finish(const reft_ppo_loss_args& args) {
  PpoSums sums;
  const int parts = (args.tokens + REFT_PART_TOKENS - 1) / REFT_PART_TOKENS;
  for (int part = 0; part < parts; ++part)
    for (int i = 0; i < REFT_PPO_SUMS; ++i) sums.of[i] += args.parts[part * REFT_PPO_SUMS + i];
  args.sums[0] = static_cast<float>(sums.of[0] + args.value_coef * sums.of[1]);
  for (int i = 0; i < REFT_PPO_SUMS; ++i) args.sums[1 + i] = static_cast<float>(sums.of[i]);
}

}  // namespace reft
