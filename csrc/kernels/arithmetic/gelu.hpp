// GELU with the error function, and its derivative: as ops/reference/fp8.py has them.
#pragma once

#include "arithmetic/element.hpp"

namespace reft {

// Phi(x), the standard normal distribution.
REFT_BOTH float below(float x) { return 0.5f * (1.0f + erff(x * 0.707106781f)); }

REFT_BOTH float gelu(float x) { return x * below(x); }

REFT_BOTH float gelu_slope(float x) {
  return fmaf(x, expf(-0.5f * x * x) * 0.398942280f, below(x));
}

}  // namespace reft
