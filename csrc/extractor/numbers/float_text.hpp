// Doubles as decimal text: exact at any precision, laid out as PyOS_double_to_string does.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/vm.hpp"

namespace reft {

// No double has more decimals than 1,074, nor more than 309 digits in front of the point.
constexpr std::uint32_t kFloatTextBytes = 1408;

// A number without its sign: `text` with `zeros` zeros put in at `zeros_at`.
struct FloatText {
  bool negative;
  std::uint32_t size;
  std::uint32_t zeros_at;
  std::uint64_t zeros;
  char text[kFloatTextBytes];

  std::string_view head() const { return {text, zeros_at}; }
  std::string_view tail() const { return {text + zeros_at, size - zeros_at}; }
};

struct FloatStyle {
  char type = 'r';                // e E f F g G, or r: the shortest that reads back
  bool alternate = false;         // '#': the point and the zeros of g stay
  bool dot_zero = false;          // at least one decimal where there is no exponent
  bool no_negative_zero = false;  // 'z'
  std::uint64_t precision = 0;    // not of r
};

// Charges for the digits, not for the zeros.
void write_float(Vm& vm, double value, const FloatStyle& style, FloatText& out);

// 10 ** n for the n for which it is exact.
constexpr std::uint32_t kExactPowers = 23;
extern const double kPowersOfTen[kExactPowers];

// magnitude * 10**places rounded to the nearest integer. False where a product of doubles cannot
// decide that: near a tie, or from 2**52 on. places < kExactPowers.
bool scale_to_integer(double magnitude, std::uint32_t places, std::uint64_t& scaled);

}  // namespace reft
