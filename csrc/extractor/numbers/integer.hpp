// Integers of any size: int64 inline, Big beyond. All take and give Values for which is_int()
// holds; a bool counts as 0 or 1. Results that fit 64 bits are always Kind::kInt.
//
// Work on Bigs is charged before it is done (limbs passed over: n / 16 + 1; multiplied: n * m / 16
// + 1; divided: quotient * divisor / 16 + n / 16 + 1; to or from decimal: n^2 / 16 + 1). An integer
// of more than max_int_bits stops the program with kDigitsLimit before it is computed.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/vm.hpp"

namespace reft {

// The general cases of the inline functions below: any operands.
namespace big {
Value add(Vm& vm, Value a, Value b);
Value subtract(Vm& vm, Value a, Value b);
Value multiply(Vm& vm, Value a, Value b);
Value floor_divide(Vm& vm, Value a, Value b);
Value modulo(Vm& vm, Value a, Value b);
Value true_divide(Vm& vm, Value a, Value b);
int compare(Value a, Value b);
std::int64_t hash(Value a);
}  // namespace big

inline Value int_add(Vm& vm, Value a, Value b) {
  std::int64_t sum;
  if (a.is_small_int() && b.is_small_int() && !__builtin_add_overflow(a.i, b.i, &sum)) {
    return Value::integer(sum);
  }
  return big::add(vm, a, b);
}

inline Value int_sub(Vm& vm, Value a, Value b) {
  std::int64_t difference;
  if (a.is_small_int() && b.is_small_int() && !__builtin_sub_overflow(a.i, b.i, &difference)) {
    return Value::integer(difference);
  }
  return big::subtract(vm, a, b);
}

inline Value int_mul(Vm& vm, Value a, Value b) {
  std::int64_t product;
  if (a.is_small_int() && b.is_small_int() && !__builtin_mul_overflow(a.i, b.i, &product)) {
    return Value::integer(product);
  }
  return big::multiply(vm, a, b);
}

inline Value int_floordiv(Vm& vm, Value a, Value b) {  // ZeroDivisionError
  if (a.is_small_int() && b.is_small_int() && b.i != 0 && b.i != -1) {
    std::int64_t quotient = a.i / b.i;
    bool below = (a.i < 0) != (b.i < 0) && quotient * b.i != a.i;
    return Value::integer(quotient - (below ? 1 : 0));
  }
  return big::floor_divide(vm, a, b);
}

inline Value int_mod(Vm& vm, Value a, Value b) {  // sign of the divisor
  if (a.is_small_int() && b.is_small_int() && b.i != 0 && b.i != -1) {
    std::int64_t remainder = a.i % b.i;
    bool other_sign = remainder != 0 && (remainder < 0) != (b.i < 0);
    return Value::integer(remainder + (other_sign ? b.i : 0));
  }
  return big::modulo(vm, a, b);
}

void int_divmod(Vm& vm, Value a, Value b, Value& quotient, Value& remainder);

// Correctly rounded float; OverflowError.
inline Value int_truediv(Vm& vm, Value a, Value b) {
  constexpr std::int64_t kExact = std::int64_t{1} << 53;
  if (a.is_small_int() && b.is_small_int() && b.i != 0 && a.i >= -kExact && a.i <= kExact &&
      b.i >= -kExact && b.i <= kExact) {
    return Value::real(static_cast<double>(a.i) / static_cast<double>(b.i));
  }
  return big::true_divide(vm, a, b);
}

Value int_pow(Vm& vm, Value a, Value b);  // b negative: float as CPython; 0 ** -1 raises
Value int_pow_mod(Vm& vm, Value a, Value b, Value m);  // negative b: modular inverse or ValueError
Value int_neg(Vm& vm, Value a);
Value int_abs(Vm& vm, Value a);
Value int_invert(Vm& vm, Value a);
Value int_and(Vm& vm, Value a, Value b);  // ints (two bools: the caller makes a bool of it)
Value int_or(Vm& vm, Value a, Value b);
Value int_xor(Vm& vm, Value a, Value b);
Value int_lshift(Vm& vm, Value a, Value b);  // ValueError for a negative count
Value int_rshift(Vm& vm, Value a, Value b);

// What has no Vm to charge passes over every limb: where a program can repeat that (comparing,
// hashing, counting bits), call charge_int before.
inline void charge_int(Vm& vm, Value a) {
  if (a.is(Kind::kBig)) vm.charge(a.as<Big>()->size / 16 + 1);
}

inline int int_compare(Value a, Value b) {  // -1, 0, 1
  if (a.is_small_int() && b.is_small_int()) return (a.i > b.i) - (a.i < b.i);
  return big::compare(a, b);
}

int int_compare_float(Value a, double b);  // exact; b not nan

inline int int_sign(Value a) {
  if (a.is_small_int()) return (a.i > 0) - (a.i < 0);
  return a.as<Big>()->negative ? -1 : 1;
}

inline std::int64_t int_hash(Value a) {  // CPython's: modulo 2**61 - 1
  constexpr std::int64_t kModulus = (std::int64_t{1} << 61) - 1;
  if (a.is_small_int() && a.i > -kModulus && a.i < kModulus) return a.i == -1 ? -2 : a.i;
  return big::hash(a);
}

std::uint64_t int_bit_length(Value a);
std::uint64_t int_bit_count(Value a);

double int_to_double(Vm& vm, Value a);  // correctly rounded; OverflowError as CPython
bool int_to_double_if_finite(Value a, double& out);
Value int_from_double(Vm& vm, double value);  // truncates; nan: ValueError, inf: OverflowError
Value int_from_u64(Vm& vm, std::uint64_t value);
// The mantissa, rounded to 53 bits, of a = mantissa * 2**exponent, 0.5 <= |mantissa| < 1; a != 0.
// CPython's _PyLong_Frexp, for math.log.
double int_frexp(Value a, std::int64_t& exponent);

// Decimal text. ValueError beyond 4,300 digits (CPython's limit, its message).
Value int_to_decimal(Vm& vm, Value a);  // Str
// 'b', 'o', 'x' without prefix, lower case; sign first.
Value int_to_base(Vm& vm, Value a, char base);
// Digits only (no sign, underscores or white space), base 2 to 36, value of each checked before.
// ValueError beyond 4,300 digits for bases that are no power of two.
Value int_from_digits(Vm& vm, std::string_view digits, int base);
// int(text, base): CPython's whole grammar: white space (Unicode too), sign, prefix, underscores,
// Unicode decimal digits; ValueError with its message (repr of the text).
Value int_from_text(Vm& vm, const Str& text, int base);

Value int_gcd(Vm& vm, Value a, Value b);
Value int_isqrt(Vm& vm, Value a);  // a >= 0, checked by the caller
// round(a, -places), half to even; places > 0.
Value int_round(Vm& vm, Value a, Value places);

}  // namespace reft
