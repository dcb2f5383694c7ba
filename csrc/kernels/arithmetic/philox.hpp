// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), and the
// Gumbel noise of sampling made from it: as ops/philox.py has them.
#pragma once

#include "arithmetic/element.hpp"

namespace reft {

struct Words {
  std::uint32_t x[4];
};

REFT_BOTH Words philox(std::uint32_t key0, std::uint32_t key1, Words counter) {
  for (int round = 0; round < 10; ++round) {
    if (round) {
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const std::uint64_t p0 = static_cast<std::uint64_t>(counter.x[0]) * 0xD2511F53u;
    const std::uint64_t p1 = static_cast<std::uint64_t>(counter.x[2]) * 0xCD9E8D57u;
    counter = {{static_cast<std::uint32_t>(p1 >> 32) ^ counter.x[1] ^ key0,
                static_cast<std::uint32_t>(p1),
                static_cast<std::uint32_t>(p0 >> 32) ^ counter.x[3] ^ key1,
                static_cast<std::uint32_t>(p0)}};
  }
  return counter;
}

// Standard Gumbel noise of 32 random bits, of which 23 count, so that no uniform is 0 or 1.
REFT_BOTH float gumbel(std::uint32_t bits) {
  const float uniform = (static_cast<float>(bits >> 9) + 0.5f) * 0x1p-23f;
  return -logf(-logf(uniform));
}

// No noise of these bits is larger, and it costs no logarithm: -log(u) >= 1 - u, so the noise is at
// most -log(1 - u), and 1 - u at least the power of two of its exponent. The margin is for logf.
REFT_BOTH float gumbel_bound(std::uint32_t bits) {
  const float rest = (8388607.5f - static_cast<float>(bits >> 9)) * 0x1p-23f;
  const int exponent = static_cast<int>(bits_of<std::uint32_t>(rest) >> 23) - 127;
  return static_cast<float>(-exponent) * 0.693148f + 1e-5f;
}

}  // namespace reft
