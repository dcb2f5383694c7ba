// Elements as they are stored, and as the fp32 that everything is computed in.
//
// Owns bf16 and groups of eight elements, which one lane loads at once. Compiled for the
// device and for the host: the same source gives both their arithmetic.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define REFT_BOTH __host__ __device__ __forceinline__
#else
#define REFT_BOTH inline __attribute__((always_inline))
#endif

namespace reft {

constexpr int kGroup = 8;  // elements that a lane holds

// The upper half of a float.
struct Bf16 {
  std::uint16_t bits;
};

template <class To, class From>
REFT_BOTH To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

REFT_BOTH float widen(float x) { return x; }
REFT_BOTH float widen(Bf16 x) { return bits_of<float>(static_cast<std::uint32_t>(x.bits) << 16); }

template <class T>
REFT_BOTH T narrow(float x);

template <>
REFT_BOTH float narrow<float>(float x) {
  return x;
}

// To nearest, ties to even; every NaN becomes the quiet one, as in torch.
template <>
REFT_BOTH Bf16 narrow<Bf16>(float x) {
  if (x != x) return {0x7fc0};
  const std::uint32_t bits = bits_of<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// Eight elements beside each other in memory, aligned as a lane loads them.
template <class T>
struct alignas(sizeof(T) == 1 ? 8 : 16) Group {
  T x[kGroup];
};

template <class T>
REFT_BOTH Group<T> load(const T* from) {
  return *reinterpret_cast<const Group<T>*>(from);
}

template <class T>
REFT_BOTH void widen(const Group<T>& group, float (&wide)[kGroup]) {
  for (int i = 0; i < kGroup; ++i) wide[i] = widen(group.x[i]);
}

template <class T>
REFT_BOTH Group<T> narrow(const float (&wide)[kGroup]) {
  Group<T> group;
  for (int i = 0; i < kGroup; ++i) group.x[i] = narrow<T>(wide[i]);
  return group;
}

template <class T>
REFT_BOTH void store(T* to, const Group<T>& group) {
  *reinterpret_cast<Group<T>*>(to) = group;
}

}  // namespace reft
