// Inside integers: magnitudes as arrays of 64-bit limbs, the least significant first.
//
// The kernels neither allocate nor charge nor check: their callers in integer_*.cpp have done so.
#pragma once

#include <cstdint>

#include "base/vm.hpp"

namespace reft {

using Limb = std::uint64_t;
using Wide = unsigned __int128;
constexpr std::uint32_t kLimbBits = 64;

// ---- kernels; sizes in limbs

std::uint32_t trimmed(const Limb* at, std::uint32_t size);     // without leading zero limbs
std::uint64_t bit_length(const Limb* at, std::uint32_t size);  // size is trimmed
int compare_limbs(const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m);
// out = a + b, n >= m; n limbs (may be a or b), returns the carry.
Limb add_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m);
// out = a - b, a >= b; n limbs (may be a or b).
void subtract_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m);
// out = a * b; n + m limbs, apart from both.
void multiply_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m);
// at = at * factor + addend; returns what is carried out.
Limb multiply_add(Limb* at, std::uint32_t size, Limb factor, Limb addend);
// By less than 64 bits; out may be a. The left one returns what is carried out.
Limb shift_left(Limb* out, const Limb* a, std::uint32_t n, std::uint32_t bits);
void shift_right(Limb* out, const Limb* a, std::uint32_t n, std::uint32_t bits);
// Is any of the lowest `bits` bits set?
bool any_bit_below(const Limb* at, std::uint32_t size, std::uint64_t bits);

inline bool bit_at(const Limb* at, std::uint64_t position) {
  return (at[position / kLimbBits] >> (position % kLimbBits) & 1) != 0;
}

// ---- values as magnitudes

// Sign and magnitude of any int value.
class Magnitude {
 public:
  explicit Magnitude(Value a) {
    if (a.is(Kind::kBig)) {
      const Big& big = *a.as<Big>();
      at = big.limbs;
      size = big.size;
      negative = big.negative;
    } else {
      negative = a.i < 0;
      small_ = negative ? 0 - static_cast<Limb>(a.i) : static_cast<Limb>(a.i);
      at = &small_;
      size = small_ != 0;
    }
  }
  Magnitude(const Magnitude&) = delete;
  Magnitude& operator=(const Magnitude&) = delete;

  std::uint64_t bits() const { return bit_length(at, size); }

  const Limb* at;
  std::uint32_t size;  // 0: zero
  bool negative;

 private:
  Limb small_ = 0;
};

// Limbs for the length of a scope. The arena takes them back if nothing was allocated after them:
// so a result is allocated before the scratch space for it.
class Scratch {
 public:
  Scratch(Vm& vm, std::uint32_t size)
      : at(vm.arena.array<Limb>(size)), arena_(vm.arena), bytes_(size * sizeof(Limb)) {}
  ~Scratch() { arena_.extend(at, bytes_, 0); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  Limb* const at;

 private:
  Arena& arena_;
  std::size_t bytes_;
};

// Stops the program if an integer may not have so many bits.
inline void check_bits(const Vm& vm, std::uint64_t bits) {
  if (bits > vm.limits.max_int_bits) stop(Status::kDigitsLimit, "bits of an integer");
}

// A result of at most `size` limbs, to be filled and given to finish_big.
Big* new_big(Vm& vm, std::uint32_t size);
// The result as a value: leading zeros dropped, inline if it fits. Checks its bits.
Value finish_big(Vm& vm, Big* big, bool negative);
// Gives its memory back if it is the newest, as finish_big does with what it drops.
void drop_big(Vm& vm, Big* big);

// ---- division

// Divides two limbs by one with a precomputed reciprocal (Moller and Granlund, "Improved division
// by invariant integers", algorithm 4). The divisor is shifted so that its top bit is set.
class LimbDivisor {
 public:
  explicit LimbDivisor(Limb divisor)
      : shift(static_cast<std::uint32_t>(__builtin_clzll(divisor))),
        divisor_(divisor << shift),
        reciprocal_(static_cast<Limb>(~Wide{0} / divisor_)) {}

  // high < normalised divisor; the dividend must be shifted like the divisor.
  Limb divide(Limb high, Limb low, Limb& remainder) const {
    Wide estimate = Wide{reciprocal_} * high + (Wide{high} << kLimbBits | low);
    Limb quotient = static_cast<Limb>(estimate >> kLimbBits) + 1;
    Limb rest = low - quotient * divisor_;
    if (rest > static_cast<Limb>(estimate)) {
      --quotient;
      rest += divisor_;
    }
    if (rest >= divisor_) {
      ++quotient;
      rest -= divisor_;
    }
    remainder = rest;
    return quotient;
  }
  Limb normalised() const { return divisor_; }

  const std::uint32_t shift;

 private:
  Limb divisor_;
  Limb reciprocal_;
};

// A divisor of any size (not zero) made ready for Knuth's algorithm D.
class Divisor {
 public:
  Divisor(Vm& vm, const Limb* at, std::uint32_t size);

  // Divides at[0, size), size >= the divisor's, with room for one limb more: the remainder is left
  // in the lowest limbs, as many as the divisor has; the quotient (size - divisor + 1 limbs) goes
  // to `quotient` unless that is null.
  void divide(Limb* at, std::uint32_t size, Limb* quotient) const;

  // Steps of such a division.
  std::uint64_t cost(std::uint32_t size) const {
    return (std::uint64_t{size} - size_ + 1) * size_ / 16 + size / 16 + 1;
  }

 private:
  Limb estimate(const Limb* at) const;
  std::uint32_t size_;
  std::uint32_t shift_;
  LimbDivisor top_;
  Scratch shifted_;
};

}  // namespace reft
