// Module math: integers. What is too large is refused before it is computed.
#include <algorithm>
#include <bit>
#include <cmath>

#include "builtins/builtin_functions.hpp"
#include "builtins/math_natives.hpp"
#include "numbers/integer.hpp"
#include "numbers/integer_limbs.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// An int or bool as an int; TypeError for others.
Value integer_argument(Vm& vm, Value value) {
  return value.is(Kind::kBig) ? value : Value::integer(index_argument(vm, value));
}

// ---- rounding

template <double (*round)(double)>
Value rounded(Vm& vm, const Args& args) {
  Value value = args[0];
  if (value.is(Kind::kFloat)) return int_from_double(vm, round(value.f));
  if (value.is_int()) return integer_argument(vm, value);
  to_real(vm, value);  // raises
  unsupported("rounding such a value");
}

Value math_trunc(Vm& vm, const Args& args) {
  if (args[0].is_number()) return rounded<std::trunc>(vm, args);
  require_known(args[0]);
  vm.raise_type("type %s doesn't define __trunc__ method", type_name(args[0]));
}

// ---- products

struct Factorials {
  std::int64_t at[21] = {1};
  constexpr Factorials() {
    for (int i = 1; i < 21; ++i) at[i] = at[i - 1] * i;
  }
};
constexpr Factorials kFactorials;

// Stops if a number of at least so many bits is too large.
void check_least_bits(Vm& vm, double bits) {
  check_bits(vm, static_cast<std::uint64_t>(std::clamp(bits, 0.0, 1e18)));
}

// n (n - 1) ... (n - count + 1) for 1 <= count <= n, by halves: `count` is as good as a number of
// bits, so halving it ends soon.
Value falling_product(Vm& vm, Value n, std::uint64_t count) {
  vm.step();
  if (count == 1) return n;
  if (n.is_small_int() && count < kLimbBits &&
      count * std::bit_width(static_cast<std::uint64_t>(n.i)) < kLimbBits) {
    std::int64_t product = n.i;
    for (std::uint64_t i = 1; i < count; ++i) product *= n.i - static_cast<std::int64_t>(i);
    return Value::integer(product);
  }
  std::uint64_t half = count / 2;
  Value upper = falling_product(vm, n, half);
  Value rest = int_sub(vm, n, Value::integer(static_cast<std::int64_t>(half)));
  return int_mul(vm, upper, falling_product(vm, rest, count - half));
}

Value permutations(Vm& vm, Value n, std::uint64_t count) {
  if (count == 0) return Value::integer(1);
  // It is at least (n / e) ** count.
  constexpr double kLog2E = 1.4427;
  double bits = static_cast<double>(int_bit_length(n)) - 1 - kLog2E;
  check_least_bits(vm, static_cast<double>(count) * bits);
  return falling_product(vm, n, count);
}

Value factorial(Vm& vm, Value argument) {
  Value n = integer_argument(vm, argument);
  if (int_sign(n) < 0) {
    vm.raise(Exc::kValueError, "factorial() not defined for negative values");
  }
  if (n.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "factorial() argument should not exceed %lld",
             static_cast<long long>(INT64_MAX));
  }
  if (n.i < 21) return Value::integer(kFactorials.at[n.i]);
  return permutations(vm, n, static_cast<std::uint64_t>(n.i));
}

Value math_factorial(Vm& vm, const Args& args) { return factorial(vm, args[0]); }

// The arguments of perm and comb.
struct Choice {
  Choice(Vm& vm, const Args& args)
      : n(integer_argument(vm, args[0])), k(integer_argument(vm, args[1])) {
    if (int_sign(n) < 0) vm.raise(Exc::kValueError, "n must be a non-negative integer");
    if (int_sign(k) < 0) vm.raise(Exc::kValueError, "k must be a non-negative integer");
  }
  Value n;
  Value k;
};

Value math_perm(Vm& vm, const Args& args) {
  if (args.count == 1 || args[1].is_none()) return factorial(vm, args[0]);
  Choice choice(vm, args);
  if (int_compare(choice.n, choice.k) < 0) return Value::integer(0);
  if (choice.k.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "k must not exceed %lld", static_cast<long long>(INT64_MAX));
  }
  return permutations(vm, choice.n, static_cast<std::uint64_t>(choice.k.i));
}

// n over k in 64 bits, k <= n / 2; false if it does not fit. It at least doubles with each step.
bool choose_small(std::uint64_t n, std::uint64_t k, std::uint64_t& result) {
  result = 1;
  for (std::uint64_t i = 0; i < k; ++i) {
    std::uint64_t product;
    if (!__builtin_mul_overflow(result, n - i, &product)) {
      result = product / (i + 1);
      continue;
    }
    Wide wide = Wide{result} * (n - i) / (i + 1);
    if (wide > static_cast<Wide>(INT64_MAX)) return false;
    result = static_cast<std::uint64_t>(wide);
  }
  return result <= static_cast<std::uint64_t>(INT64_MAX);
}

// n over k = (n over j) * (n - j over k - j) / (k over j), k <= n / 2.
Value choose(Vm& vm, Value n, std::uint64_t k) {
  vm.step();
  if (k == 0) return Value::integer(1);
  if (k == 1) return n;
  std::uint64_t small;
  if (n.is_small_int() && choose_small(static_cast<std::uint64_t>(n.i), k, small)) {
    return Value::integer(static_cast<std::int64_t>(small));
  }
  std::uint64_t half = k / 2;
  Value first = choose(vm, n, half);
  Value rest = int_sub(vm, n, Value::integer(static_cast<std::int64_t>(half)));
  Value product = int_mul(vm, first, choose(vm, rest, k - half));
  return int_floordiv(vm, product, choose(vm, Value::integer(static_cast<std::int64_t>(k)), half));
}

Value math_comb(Vm& vm, const Args& args) {
  Choice choice(vm, args);
  Value rest = int_sub(vm, choice.n, choice.k);
  if (int_sign(rest) < 0) return Value::integer(0);
  Value k = int_compare(rest, choice.k) < 0 ? rest : choice.k;
  if (k.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "min(n - k, k) must not exceed %lld",
             static_cast<long long>(INT64_MAX));
  }
  // It is at least (n / k) ** k.
  double ratio_bits =
      static_cast<double>(int_bit_length(choice.n)) - static_cast<double>(int_bit_length(k)) - 1;
  check_least_bits(vm, static_cast<double>(k.i) * std::max(1.0, ratio_bits));
  return choose(vm, choice.n, static_cast<std::uint64_t>(k.i));
}

// ---- divisors and roots

Value lcm(Vm& vm, Value a, Value b) {
  if (int_sign(a) == 0 || int_sign(b) == 0) return Value::integer(0);
  return int_abs(vm, int_mul(vm, int_floordiv(vm, a, int_gcd(vm, a, b)), b));
}

template <Value (*combine)(Vm&, Value, Value), int neutral>
Value combined(Vm& vm, const Args& args) {
  if (args.count == 0) return Value::integer(neutral);
  Value result = int_abs(vm, integer_argument(vm, args[0]));
  for (std::uint32_t i = 1; i < args.count; ++i) {
    vm.step();
    result = combine(vm, result, integer_argument(vm, args[i]));
  }
  return result;
}

Value math_isqrt(Vm& vm, const Args& args) {
  Value n = integer_argument(vm, args[0]);
  if (int_sign(n) < 0) vm.raise(Exc::kValueError, "isqrt() argument must be nonnegative");
  return int_isqrt(vm, n);
}

}  // namespace

const Native* math_integer(Symbol name) {
  switch (name) {
    case N_ceil: return &kMath<N_ceil, rounded<std::ceil>, 1>;
    case N_comb: return &kMath<N_comb, math_comb, 2>;
    case N_factorial: return &kMath<N_factorial, math_factorial, 1>;
    case N_floor: return &kMath<N_floor, rounded<std::floor>, 1>;
    case N_gcd: return &kMath<N_gcd, combined<int_gcd, 0>, 0, UINT32_MAX>;
    case N_isqrt: return &kMath<N_isqrt, math_isqrt, 1>;
    case N_lcm: return &kMath<N_lcm, combined<lcm, 1>, 0, UINT32_MAX>;
    case N_perm: return &kMath<N_perm, math_perm, 1, 2>;
    case N_trunc: return &kMath<N_trunc, math_trunc, 1>;
    default: return nullptr;
  }
}

}  // namespace reft
