// Integers: everything that divides.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <utility>

#include "numbers/integer.hpp"
#include "numbers/integer_limbs.hpp"

namespace reft {
namespace {

// The floored quotient and remainder of any ints; y is not zero. Only what is asked for is made.
void floor_divide(Vm& vm, Value a, const Magnitude& y, Value* quotient, Value* remainder) {
  Magnitude x(a);
  if (compare_limbs(x.at, x.size, y.at, y.size) < 0 && (x.size == 0 || x.negative == y.negative)) {
    if (quotient != nullptr) *quotient = Value::integer(0);
    if (remainder != nullptr) *remainder = a.is(Kind::kBool) ? Value::integer(a.i) : a;
    return;
  }
  // One limb more than x may have: -1 divided by something longer.
  std::uint32_t size = std::max(x.size, y.size);
  vm.charge((std::uint64_t{size} - y.size + 1) * y.size / 16 + size / 16 + 1);
  Big* ratio = quotient == nullptr ? nullptr : new_big(vm, size - y.size + 2);
  Big* rest = new_big(vm, size + 1);
  std::copy_n(x.at, x.size, rest->limbs);
  std::fill_n(rest->limbs + x.size, size + 1 - x.size, Limb{0});
  Divisor(vm, y.at, y.size).divide(rest->limbs, size, ratio == nullptr ? nullptr : ratio->limbs);
  std::fill_n(rest->limbs + y.size, size + 1 - y.size, Limb{0});
  bool negative = x.negative != y.negative;
  bool below = negative && trimmed(rest->limbs, y.size) != 0;  // truncated so far: one further down
  if (below) subtract_limbs(rest->limbs, y.at, y.size, rest->limbs, y.size);
  if (remainder != nullptr) *remainder = finish_big(vm, rest, y.negative);
  if (remainder == nullptr) drop_big(vm, rest);
  if (ratio == nullptr) return;
  Limb one = below ? 1 : 0;
  ratio->limbs[ratio->size - 1] = 0;
  add_limbs(ratio->limbs, ratio->limbs, ratio->size, &one, 1);
  *quotient = finish_big(vm, ratio, negative);
}

[[noreturn]] void quotient_too_large(Vm& vm) {
  vm.raise(Exc::kOverflowError, "integer division result too large for a float");
}

// floor(x / (y * 2**shift)) as one limb, its lowest bit set if that is not exact. The caller chose
// the shift so that the quotient has at most 56 bits and y no more limbs than the shifted x.
Limb shifted_quotient(Vm& vm, const Magnitude& x, const Magnitude& y, std::int64_t shift) {
  std::uint64_t distance = static_cast<std::uint64_t>(shift < 0 ? -shift : shift);
  std::uint32_t whole = static_cast<std::uint32_t>(distance / kLimbBits);
  std::uint32_t part = distance % kLimbBits;
  std::uint32_t room = x.size + (shift < 0 ? whole + 1 : 0);
  vm.charge((std::uint64_t{room} + y.size) / 8 + 1);
  Scratch work(vm, room + 1);
  std::uint32_t size;
  bool inexact = false;
  if (shift < 0) {
    std::fill_n(work.at, whole, Limb{0});
    work.at[whole + x.size] = shift_left(work.at + whole, x.at, x.size, part);
    size = trimmed(work.at, whole + x.size + 1);
  } else {
    inexact = any_bit_below(x.at, x.size, distance);
    shift_right(work.at, x.at + whole, x.size - whole, part);
    size = trimmed(work.at, x.size - whole);
  }
  Scratch quotient(vm, size - y.size + 1);
  Divisor(vm, y.at, y.size).divide(work.at, size, quotient.at);
  inexact = inexact || trimmed(work.at, y.size) != 0;
  return quotient.at[0] | (inexact ? 1 : 0);
}

Limb gcd_limbs(Limb a, Limb b) {
  while (b != 0) a = std::exchange(b, a % b);
  return a;
}

// Euclid's algorithm in place; the result is left in `out`, its size returned.
std::uint32_t gcd_in_place(Vm& vm, const Magnitude& x, const Magnitude& y, Limb* out) {
  Scratch first(vm, x.size + 1);
  Scratch second(vm, y.size + 1);
  Limb* a = first.at;
  Limb* b = second.at;
  std::uint32_t n = x.size;
  std::uint32_t m = y.size;
  std::copy_n(x.at, n, a);
  std::copy_n(y.at, m, b);
  if (n < m) {
    std::swap(a, b);
    std::swap(n, m);
  }
  while (m > 1 || (m == 1 && n > 1)) {
    Divisor divisor(vm, b, m);
    vm.charge(divisor.cost(n));
    divisor.divide(a, n, nullptr);
    n = trimmed(a, m);
    std::swap(a, b);
    std::swap(n, m);
  }
  if (m == 1) a[0] = gcd_limbs(a[0], b[0]);
  std::copy_n(a, n, out);
  return n;
}

}  // namespace

Value big::floor_divide(Vm& vm, Value a, Value b) {
  Magnitude y(b);
  if (y.size == 0) vm.raise(Exc::kZeroDivisionError, "integer division or modulo by zero");
  Value quotient;
  reft::floor_divide(vm, a, y, &quotient, nullptr);
  return quotient;
}

Value big::modulo(Vm& vm, Value a, Value b) {
  Magnitude y(b);
  if (y.size == 0) vm.raise(Exc::kZeroDivisionError, "integer modulo by zero");
  Value remainder;
  reft::floor_divide(vm, a, y, nullptr, &remainder);
  return remainder;
}

void int_divmod(Vm& vm, Value a, Value b, Value& quotient, Value& remainder) {
  if (a.is_small_int() && b.is_small_int() && b.i != 0 && b.i != -1) {
    quotient = int_floordiv(vm, a, b);
    remainder = int_mod(vm, a, b);
    return;
  }
  Magnitude y(b);
  if (y.size == 0) vm.raise(Exc::kZeroDivisionError, "integer division or modulo by zero");
  floor_divide(vm, a, y, &quotient, &remainder);
}

// As CPython's long_true_divide: a quotient of 55 or 56 bits with a sticky last one, rounded once.
Value big::true_divide(Vm& vm, Value a, Value b) {
  Magnitude x(a);
  Magnitude y(b);
  if (y.size == 0) vm.raise(Exc::kZeroDivisionError, "division by zero");
  bool negative = x.negative != y.negative;
  std::int64_t difference =
      static_cast<std::int64_t>(x.bits()) - static_cast<std::int64_t>(y.bits());
  if (x.size == 0 || difference < DBL_MIN_EXP - DBL_MANT_DIG - 1) {
    return Value::real(negative ? -0.0 : 0.0);
  }
  if (difference > DBL_MAX_EXP) quotient_too_large(vm);
  std::int64_t shift = std::max<std::int64_t>(difference, DBL_MIN_EXP) - DBL_MANT_DIG - 2;
  Limb quotient = shifted_quotient(vm, x, y, shift);
  std::int64_t bits = std::bit_width(quotient);
  std::int64_t extra = std::max<std::int64_t>(bits, DBL_MIN_EXP - shift) - DBL_MANT_DIG;
  Limb half = Limb{1} << (extra - 1);
  bool up = (quotient & half) != 0 && (quotient & (3 * half - 1)) != 0;
  quotient = (quotient + (up ? half : 0)) & ~(2 * half - 1);
  double result = std::ldexp(static_cast<double>(quotient), static_cast<int>(shift));
  if (std::isinf(result)) quotient_too_large(vm);
  return Value::real(negative ? -result : result);
}

Value int_gcd(Vm& vm, Value a, Value b) {
  Magnitude x(a);
  Magnitude y(b);
  if (x.size <= 1 && y.size <= 1) {
    return int_from_u64(vm, gcd_limbs(x.size == 0 ? 0 : x.at[0], y.size == 0 ? 0 : y.at[0]));
  }
  if (x.size == 0) return int_abs(vm, b);
  if (y.size == 0) return int_abs(vm, a);
  vm.charge((std::uint64_t{x.size} + y.size) / 16 + 1);
  Big* result = new_big(vm, std::min(x.size, y.size));
  std::uint32_t size = gcd_in_place(vm, x, y, result->limbs);
  std::fill_n(result->limbs + size, result->size - size, Limb{0});
  return finish_big(vm, result, false);
}

Value int_round(Vm& vm, Value a, Value places) {
  // CPython computes this power of ten; one that is too long for us need not be computed, but one
  // that it could not compute either must not succeed.
  if (!places.is_small_int()) check_bits(vm, UINT64_MAX);
  std::uint64_t count = static_cast<std::uint64_t>(places.i);
  check_bits(vm, count);
  if (3 * count > int_bit_length(a)) return Value::integer(0);  // |a| < 8**count / 2
  Value unit = int_pow(vm, Value::integer(10), places);
  Value quotient;
  Value remainder;
  int_divmod(vm, a, unit, quotient, remainder);
  int order = int_compare(int_add(vm, remainder, remainder), unit);
  Magnitude ratio(quotient);
  bool odd = ratio.size != 0 && bit_at(ratio.at, 0);
  if (order > 0 || (order == 0 && odd)) remainder = int_sub(vm, remainder, unit);
  return int_sub(vm, a, remainder);
}

}  // namespace reft
