// round() of floats: half to even on the exact decimal value.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "numbers/float_text.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"

namespace reft {

const double kPowersOfTen[kExactPowers] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                           1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                           1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

namespace {

// Beyond these every float rounds to itself, or to zero.
constexpr std::int64_t kMostPlaces = 323;
constexpr std::int64_t kLeastPlaces = -308;
constexpr double kAllIntegers = 0x1p52;  // floats from here on have no fraction
constexpr int kTextBytes = 352;          // 16 digits and 323 places, or 309 digits

double round_right_of_point(Vm& vm, double magnitude, int places) {
  char text[kTextBytes];
  vm.charge(static_cast<std::uint64_t>(places) / 16);
  char* end =
      std::to_chars(text, text + kTextBytes, magnitude, std::chars_format::fixed, places).ptr;
  double rounded = 0;
  std::from_chars(text, end, rounded);
  return rounded;
}

double round_left_of_point(Vm& vm, double magnitude, int dropped) {
  char text[kTextBytes];
  char* digits = text + 1;
  text[0] = '0';  // for the carry
  double whole = std::trunc(magnitude);
  vm.charge(magnitude >= kAllIntegers ? 16 : 0);
  char* end = std::to_chars(digits, text + kTextBytes, whole, std::chars_format::fixed, 0).ptr;
  if (dropped > end - digits) return 0;
  char* cut = end - dropped;
  bool more = whole != magnitude || std::any_of(cut + 1, end, [](char c) { return c != '0'; });
  bool odd = (cut[-1] - '0') % 2 != 0;
  if (*cut > '5' || (*cut == '5' && (more || odd))) {
    char* digit = cut - 1;
    for (; *digit == '9'; --digit) *digit = '0';
    ++*digit;
  }
  std::fill(cut, end, '0');
  double rounded = 0;
  if (std::from_chars(text, end, rounded).ec != std::errc{}) {
    vm.raise(Exc::kOverflowError, "rounded value too large to represent");
  }
  return rounded;
}

}  // namespace

bool scale_to_integer(double magnitude, std::uint32_t places, std::uint64_t& scaled) {
  double product = magnitude * kPowersOfTen[places];
  if (!(product < kAllIntegers)) return false;
  auto whole = static_cast<std::int64_t>(product);
  // Exact; the product itself is off by at most 2**-53 of it.
  double above_half = product - static_cast<double>(whole) - 0.5;
  if (std::fabs(above_half) <= product * 0x1p-52) return false;
  scaled = static_cast<std::uint64_t>(whole) + (above_half > 0 ? 1 : 0);
  return true;
}

double round_float(Vm& vm, double value, std::int64_t places) {
  double magnitude = std::fabs(value);
  if (!std::isfinite(value) || places > kMostPlaces) return value;
  if (places < kLeastPlaces) return std::copysign(0.0, value);
  if (places < 0) {
    return std::copysign(round_left_of_point(vm, magnitude, static_cast<int>(-places)), value);
  }
  if (magnitude >= kAllIntegers) return value;
  std::uint64_t scaled;
  if (places < kExactPowers &&
      scale_to_integer(magnitude, static_cast<std::uint32_t>(places), scaled)) {
    // Both are exact, so the quotient is the float nearest to the rounded decimal.
    return std::copysign(
        static_cast<double>(static_cast<std::int64_t>(scaled)) / kPowersOfTen[places], value);
  }
  return std::copysign(round_right_of_point(vm, magnitude, static_cast<int>(places)), value);
}

Value round_float_to_int(Vm& vm, double value) {
  double rounded = std::round(value);
  if (std::fabs(value - rounded) == 0.5) rounded = 2.0 * std::round(value / 2.0);
  if (std::fabs(rounded) < 0x1p63) return Value::integer(static_cast<std::int64_t>(rounded));
  return int_from_double(vm, rounded);
}

}  // namespace reft
