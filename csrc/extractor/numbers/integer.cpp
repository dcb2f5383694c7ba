// Integers: comparing, hashing, and integers as doubles.
#include "numbers/integer.hpp"

#include <bit>
#include <cmath>

#include "numbers/integer_limbs.hpp"

namespace reft {
namespace {

constexpr int kMantissaBits = 53;

// A magnitude (not zero) rounded to 53 bits, half to even, times 2**-exponent: at least 2**52, at
// most 2**53.
double rounded_mantissa(const Limb* at, std::uint32_t size, std::int64_t& exponent) {
  std::uint64_t bits = bit_length(at, size);
  std::uint32_t shift = static_cast<std::uint32_t>(std::countl_zero(at[size - 1]));
  Limb top = at[size - 1] << shift;
  if (shift != 0 && size > 1) top |= at[size - 2] >> (kLimbBits - shift);
  constexpr Limb kHalf = Limb{1} << (kLimbBits - kMantissaBits - 1);
  Limb mantissa = top >> (kLimbBits - kMantissaBits);
  Limb rest = top & (2 * kHalf - 1);
  bool up = rest > kHalf;
  if (rest == kHalf) {
    up = (mantissa & 1) != 0 || (bits > kLimbBits && any_bit_below(at, size, bits - kLimbBits));
  }
  exponent = static_cast<std::int64_t>(bits) - kMantissaBits;
  return static_cast<double>(mantissa + (up ? 1 : 0));
}

int compare_doubles(double a, double b) { return (a > b) - (a < b); }

// |a| of 64 bits or more with a positive double.
int compare_magnitude(const Big& a, double b) {
  int exponent;
  double fraction = std::frexp(b, &exponent);
  std::uint64_t bits = bit_length(a.limbs, a.size);
  if (exponent < 0 || static_cast<std::uint64_t>(exponent) < bits) return 1;
  if (static_cast<std::uint64_t>(exponent) > bits) return -1;
  // As many bits: `b` is an integer whose bits below the 64 highest are zero.
  Limb b_top = static_cast<Limb>(std::ldexp(fraction, static_cast<int>(kLimbBits)));
  std::uint32_t shift = static_cast<std::uint32_t>(std::countl_zero(a.limbs[a.size - 1]));
  Limb a_top = a.limbs[a.size - 1] << shift;
  if (shift != 0 && a.size > 1) a_top |= a.limbs[a.size - 2] >> (kLimbBits - shift);
  if (a_top != b_top) return a_top < b_top ? -1 : 1;
  return any_bit_below(a.limbs, a.size, bits - kLimbBits) ? 1 : 0;
}

}  // namespace

int big::compare(Value a, Value b) {
  Magnitude x(a);
  Magnitude y(b);
  if (x.negative != y.negative) return x.negative ? -1 : 1;
  int order = compare_limbs(x.at, x.size, y.at, y.size);
  return x.negative ? -order : order;
}

int int_compare_float(Value a, double b) {
  constexpr double kTwo63 = 9223372036854775808.0;
  if (a.is_small_int()) {
    if (b >= kTwo63) return -1;
    if (b < -kTwo63) return 1;
    std::int64_t whole = static_cast<std::int64_t>(b);
    if (a.i != whole) return a.i < whole ? -1 : 1;
    return compare_doubles(static_cast<double>(whole), b);
  }
  const Big& big = *a.as<Big>();
  if (std::isinf(b)) return b > 0 ? -1 : 1;
  if (big.negative) return b >= 0 ? -1 : -compare_magnitude(big, -b);
  return b <= 0 ? 1 : compare_magnitude(big, b);
}

std::int64_t big::hash(Value a) {
  constexpr Limb kModulus = (Limb{1} << 61) - 1;
  Magnitude x(a);
  Limb hash = 0;
  for (std::uint32_t i = x.size; i-- != 0;) {
    // 2**64 is 8 modulo 2**61 - 1: times it is a rotation of 61 bits by three.
    hash = (hash << 3 & kModulus) | hash >> 58;
    hash += (x.at[i] & kModulus) + (x.at[i] >> 61);
    hash = (hash & kModulus) + (hash >> 61);
    if (hash >= kModulus) hash -= kModulus;
  }
  std::int64_t result = static_cast<std::int64_t>(hash);
  if (x.negative) result = -result;
  return result == -1 ? -2 : result;
}

std::uint64_t int_bit_length(Value a) { return Magnitude(a).bits(); }

std::uint64_t int_bit_count(Value a) {
  Magnitude x(a);
  std::uint64_t count = 0;
  for (std::uint32_t i = 0; i < x.size; ++i) count += static_cast<unsigned>(std::popcount(x.at[i]));
  return count;
}

bool int_to_double_if_finite(Value a, double& out) {
  if (a.is_small_int()) {
    out = static_cast<double>(a.i);
    return true;
  }
  const Big& big = *a.as<Big>();
  constexpr std::uint64_t kLargestBits = 1024;
  if (bit_length(big.limbs, big.size) > kLargestBits) return false;
  std::int64_t exponent;
  double mantissa = rounded_mantissa(big.limbs, big.size, exponent);
  double magnitude = std::ldexp(mantissa, static_cast<int>(exponent));
  if (std::isinf(magnitude)) return false;
  out = big.negative ? -magnitude : magnitude;
  return true;
}

double int_to_double(Vm& vm, Value a) {
  double result;
  if (!int_to_double_if_finite(a, result)) {
    vm.raise(Exc::kOverflowError, "int too large to convert to float");
  }
  return result;
}

double int_frexp(Value a, std::int64_t& exponent) {
  Magnitude x(a);
  double mantissa = rounded_mantissa(x.at, x.size, exponent);
  int more;
  double fraction = std::frexp(mantissa, &more);
  exponent += more;
  return x.negative ? -fraction : fraction;
}

Value int_from_u64(Vm& vm, std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(INT64_MAX)) {
    return Value::integer(static_cast<std::int64_t>(value));
  }
  Big* big = new_big(vm, 1);
  big->limbs[0] = value;
  return finish_big(vm, big, false);
}

Value int_from_double(Vm& vm, double value) {
  constexpr double kTwo63 = 9223372036854775808.0;
  if (value >= -kTwo63 && value < kTwo63) return Value::integer(static_cast<std::int64_t>(value));
  if (std::isnan(value)) vm.raise(Exc::kValueError, "cannot convert float NaN to integer");
  if (std::isinf(value)) vm.raise(Exc::kOverflowError, "cannot convert float infinity to integer");
  int exponent;
  double fraction = std::frexp(std::fabs(value), &exponent);
  auto mantissa = static_cast<std::int64_t>(std::ldexp(fraction, kMantissaBits));
  Value magnitude =
      int_lshift(vm, Value::integer(mantissa), Value::integer(exponent - kMantissaBits));
  return value < 0 ? int_neg(vm, magnitude) : magnitude;
}

}  // namespace reft
