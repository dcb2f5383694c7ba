// FP8 E4M3: eight bits of sign, exponent and mantissa, and a scale for each vector.
//
// Owns the codes (no infinities, one NaN of either sign, nearest even, saturating at 448) and the
// rule of the scale. Groups are rounded and decoded by the device's instructions there, which give
// the same codes.
#pragma once

#include "arithmetic/element.hpp"
#ifdef __CUDACC__
#include <cuda_fp8.h>
#endif

namespace reft {

struct E4M3 {
  std::uint8_t bits;
};

constexpr float kLargest = 448.0f;
constexpr std::uint32_t kInfinity =
    0x7f800000;  // bits of magnitudes at and above it are not finite

REFT_BOTH std::uint32_t magnitude(float x) { return bits_of<std::uint32_t>(x) & 0x7fffffff; }

REFT_BOTH float widen(E4M3 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x80) << 24;
  const std::uint32_t rest = x.bits & 0x7f;
  if (rest == 0x7f) return bits_of<float>(sign | 0x7fc00000);
  // Exponents are 120 apart, subnormals included: the product is exact.
  return bits_of<float>(sign | rest << 20) * 0x1p120f;
}

template <>
REFT_BOTH E4M3 narrow<E4M3>(float x) {
  const std::uint32_t size = magnitude(x);
  const std::uint32_t sign = bits_of<std::uint32_t>(x) >> 24 & 0x80;
  std::uint32_t code;
  if (size > kInfinity) {
    code = 0x7f;
  } else if (size >= bits_of<std::uint32_t>(kLargest)) {
    code = 0x7e;
  } else if (size < bits_of<std::uint32_t>(0x1p-6f)) {
    code = static_cast<std::uint32_t>(rintf(bits_of<float>(size) * 0x1p9f));  // subnormal, or 2^-6
  } else {
    code = ((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3);
  }
  return {static_cast<std::uint8_t>(sign | code)};
}

REFT_BOTH void widen(const Group<E4M3>& group, float (&wide)[kGroup]) {
#ifdef __CUDA_ARCH__
  for (int i = 0; i < kGroup; i += 2) {
    const __nv_fp8x2_storage_t pair = group.x[i].bits | group.x[i + 1].bits << 8;
    const float2 both = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3)));
    wide[i] = both.x;
    wide[i + 1] = both.y;
  }
#else
  for (int i = 0; i < kGroup; ++i) wide[i] = widen(group.x[i]);
#endif
}

template <>
REFT_BOTH Group<E4M3> narrow<E4M3>(const float (&wide)[kGroup]) {
  Group<E4M3> codes;
#ifdef __CUDA_ARCH__
  for (int i = 0; i < kGroup; i += 2) {
    const __nv_fp8x2_storage_t pair =
        __nv_cvt_float2_to_fp8x2(make_float2(wide[i], wide[i + 1]), __NV_SATFINITE, __NV_E4M3);
    codes.x[i].bits = static_cast<std::uint8_t>(pair);
    codes.x[i + 1].bits = static_cast<std::uint8_t>(pair >> 8);
  }
#else
  for (int i = 0; i < kGroup; ++i) codes.x[i] = narrow<E4M3>(wide[i]);
#endif
  return codes;
}

// What values are multiplied with before they are rounded, and what codes are multiplied with.
struct Scale {
  float encode;
  float decode;
};

// Of values whose largest magnitude has these bits; as integers, maxima keep NaN. Zeros have scale
// 1, and so has what is not finite.
REFT_BOTH Scale scale_of(std::uint32_t largest) {
  if (largest == 0 || largest >= kInfinity) return {1.0f, 1.0f};
  const float top = bits_of<float>(largest);
  const float encode = kLargest / top;
  return {magnitude(encode) < kInfinity ? encode : 3.402823466e38f, top / kLargest};
}

// The largest magnitude of a group of eight, as bits.
REFT_BOTH std::uint32_t largest_of(const float (&wide)[kGroup]) {
  std::uint32_t largest = 0;
  for (int i = 0; i < kGroup; ++i) {
    const std::uint32_t size = magnitude(wide[i]);
    largest = size > largest ? size : largest;
  }
  return largest;
}

REFT_BOTH Group<E4M3> quantised(const float (&wide)[kGroup], float encode) {
  float scaled[kGroup];
  for (int i = 0; i < kGroup; ++i) scaled[i] = wide[i] * encode;
  return narrow<E4M3>(scaled);
}

}  // namespace reft
