// Integers: powers and roots.
#include <algorithm>
#include <bit>
#include <cmath>

#include "numbers/integer.hpp"
#include "numbers/integer_limbs.hpp"
#include "numbers/number_text.hpp"

namespace reft {
namespace {

constexpr std::uint64_t kPowerBits = 1u << 23;  // what is left to a worker

// base ** exponent if it fits 64 bits.
bool small_power(std::int64_t base, std::uint64_t exponent, std::int64_t& out) {
  std::int64_t result = 1;
  for (;;) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return false;
    exponent >>= 1;
    if (exponent == 0) break;
    if (__builtin_mul_overflow(base, base, &base)) return false;
  }
  out = result;
  return true;
}

// By squaring, from the highest bit of the exponent down; exponent > 0, |base| > 1.
Value large_power(Vm& vm, Value base, std::uint64_t exponent) {
  std::uint64_t bits = int_bit_length(base);
  // CPython computes 10 ** 10**6 in a moment; only growth step by step must end at once.
  if (exponent <= kPowerBits / bits && bits * exponent > vm.limits.max_int_bits) {
    unsupported("a power of very many bits");
  }
  check_bits(vm, exponent);
  check_bits(vm, (bits - 1) * exponent + 1);
  if (base.is_small_int() && base.i > 0 && std::has_single_bit(static_cast<Limb>(base.i))) {
    return int_lshift(vm, Value::integer(1),
                      Value::integer(static_cast<std::int64_t>((bits - 1) * exponent)));
  }
  Value result = base;
  for (int bit = std::bit_width(exponent) - 2; bit >= 0; --bit) {
    result = int_mul(vm, result, result);
    if ((exponent >> bit & 1) != 0) result = int_mul(vm, result, base);
  }
  return result;
}

// The x with a * x = 1 modulo n > 1.
Value inverse(Vm& vm, Value a, Value n) {
  Value x = Value::integer(1);
  Value next_x = Value::integer(0);
  vm.charge(16);
  while (int_sign(n) != 0) {
    Value quotient;
    Value remainder;
    int_divmod(vm, a, n, quotient, remainder);
    a = n;
    n = remainder;
    Value after = int_sub(vm, x, int_mul(vm, quotient, next_x));
    x = next_x;
    next_x = after;
  }
  if (!a.is_small_int() || a.i != 1) {
    vm.raise(Exc::kValueError, "base is not invertible for the given modulus");
  }
  return x;
}

Limb limb_power_modulo(Limb base, const Magnitude& exponent, Limb modulus) {
  LimbDivisor divisor(modulus);
  auto multiply = [&](Limb a, Limb b) {
    Wide product = Wide{a} * b << divisor.shift;  // a < modulus: nothing is shifted out
    Limb remainder;
    divisor.divide(static_cast<Limb>(product >> kLimbBits), static_cast<Limb>(product), remainder);
    return remainder >> divisor.shift;
  };
  Limb result = 1;
  for (std::uint64_t bit = exponent.bits(); bit-- != 0;) {
    result = multiply(result, result);
    if (bit_at(exponent.at, bit)) result = multiply(result, base);
  }
  return result;
}

// base ** exponent modulo a modulus of two limbs or more, 0 <= base < modulus.
Value long_power_modulo(Vm& vm, const Magnitude& base, const Magnitude& exponent,
                        const Magnitude& modulus) {
  std::uint32_t size = modulus.size;
  Big* result = new_big(vm, size);
  std::fill_n(result->limbs, size, Limb{0});
  result->limbs[0] = 1;
  {
    Divisor divisor(vm, modulus.at, size);
    Scratch product(vm, 2 * size + 1);
    auto multiply = [&](const Limb* by, std::uint32_t by_size) {
      vm.charge(std::uint64_t{size} * by_size / 16 + divisor.cost(size + by_size));
      multiply_limbs(product.at, result->limbs, size, by, by_size);
      divisor.divide(product.at, size + by_size, nullptr);
      std::copy_n(product.at, size, result->limbs);
    };
    for (std::uint64_t bit = exponent.bits(); bit-- != 0;) {
      multiply(result->limbs, size);
      if (bit_at(exponent.at, bit)) multiply(base.at, base.size);
    }
  }
  return finish_big(vm, result, false);
}

std::int64_t small_isqrt(std::int64_t n) {
  auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n)));
  while (Wide(root) * Wide(root) > Wide(n)) --root;
  while (Wide(root + 1) * Wide(root + 1) <= Wide(n)) ++root;
  return root;
}

}  // namespace

Value int_pow(Vm& vm, Value a, Value b) {
  if (int_sign(b) < 0) {
    double base = int_to_double(vm, a);
    return Value::real(float_pow(vm, base, int_to_double(vm, b)));
  }
  bool unit = a.is_small_int() && a.i >= -1 && a.i <= 1;
  if (!b.is_small_int()) {
    if (!unit) check_bits(vm, UINT64_MAX);
    bool odd = bit_at(b.as<Big>()->limbs, 0);
    return Value::integer(odd ? a.i : a.i * a.i);
  }
  std::int64_t result;
  std::uint64_t exponent = static_cast<std::uint64_t>(b.i);
  if (a.is_small_int() && small_power(a.i, exponent, result)) return Value::integer(result);
  return exponent == 0 ? Value::integer(1) : large_power(vm, a, exponent);
}

Value int_pow_mod(Vm& vm, Value a, Value b, Value m) {
  if (int_sign(m) == 0) vm.raise(Exc::kValueError, "pow() 3rd argument cannot be 0");
  Value modulus = int_abs(vm, m);
  if (modulus.is_small_int() && modulus.i == 1) return Value::integer(0);
  if (int_sign(b) < 0) {
    a = inverse(vm, a, modulus);
    b = int_neg(vm, b);
  }
  Magnitude base(int_mod(vm, a, modulus));
  Magnitude exponent(b);
  Magnitude divisor(modulus);
  Value result;
  if (divisor.size == 1) {
    vm.charge(exponent.bits());
    Limb power = limb_power_modulo(base.size == 0 ? 0 : base.at[0], exponent, divisor.at[0]);
    result = int_from_u64(vm, power);
  } else {
    result = long_power_modulo(vm, base, exponent, divisor);
  }
  if (int_sign(m) < 0 && int_sign(result) != 0) result = int_add(vm, result, m);
  return result;
}

// As CPython's math.isqrt: each round doubles the number of bits that are right.
Value int_isqrt(Vm& vm, Value a) {
  if (a.is_small_int()) return Value::integer(small_isqrt(a.i));
  std::int64_t half = static_cast<std::int64_t>(int_bit_length(a) - 1) / 2;
  std::int64_t right = 0;
  Value root = Value::integer(1);
  auto shifted = [&](auto shift, Value value, std::int64_t count) {
    return shift(vm, value, Value::integer(count));
  };
  for (int s = std::bit_width(static_cast<std::uint64_t>(half)) - 1; s >= 0; --s) {
    std::int64_t before = right;
    right = half >> s;
    Value scaled = shifted(int_rshift, a, 2 * half - before - right + 1);
    root =
        int_add(vm, shifted(int_lshift, root, right - before - 1), int_floordiv(vm, scaled, root));
  }
  bool above = int_compare(int_mul(vm, root, root), a) > 0;
  return above ? int_sub(vm, root, Value::integer(1)) : root;
}

}  // namespace reft
