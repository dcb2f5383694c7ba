// Generalised advantages in fp64, of which no product is fused with its sum: as torch has them.
#pragma once

#include "arithmetic/arguments.hpp"

namespace reft {

#ifdef __CUDA_ARCH__
REFT_BOTH double add(double a, double b) { return __dadd_rn(a, b); }
REFT_BOTH double multiply(double a, double b) { return __dmul_rn(a, b); }
#else
REFT_BOTH double add(double a, double b) { return a + b; }
REFT_BOTH double multiply(double a, double b) { return a * b; }
#endif

REFT_BOTH double delta_of(const reft_gae_args& args, double reward, double value, double next) {
  return add(add(reward, multiply(args.gamma, next)), -value);
}

REFT_BOTH double advantage_of(const reft_gae_args& args, double delta, double next) {
  return add(delta, multiply(args.decay, next));
}

// What is counted of an array of rewards or values.
REFT_BOTH double counted(const reft_gae_args& args, const float* from, std::int64_t at) {
  return args.mask[at] ? static_cast<double>(from[at]) : 0.0;
}

REFT_BOTH void write(const reft_gae_args& args, std::int64_t at, double advantage, double value) {
  args.advantages[at] = args.mask[at] ? static_cast<float>(advantage) : 0.0f;
  args.returns[at] = args.mask[at] ? static_cast<float>(add(advantage, value)) : 0.0f;
}

}  // namespace reft
