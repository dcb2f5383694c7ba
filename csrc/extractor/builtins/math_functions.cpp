// Module math: functions of one or two floats. Libm computes them, as it does for CPython.
#include <cmath>
#include <limits>
#include <numbers>

#include "builtins/math_natives.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

using Real1 = double (*)(double);
using Real2 = double (*)(double, double);

constexpr double kPi = std::numbers::pi;

// A nan that no argument was is a domain error; an infinity that no argument was is `infinite`.
[[noreturn]] void raise_infinite(Vm& vm, Exc infinite) {
  if (infinite == Exc::kOverflowError) raise_math_range(vm);
  raise_math_domain(vm);
}

template <Name name, Real1 function, Exc infinite>
Value run_real(Vm& vm, const Args& args) {
  expect_math(vm, args, name, 1, 1);
  double x = real_argument(vm, args[0]);
  double result = function(x);
  if (!std::isfinite(result)) {
    if (std::isnan(result) && !std::isnan(x)) raise_math_domain(vm);
    if (std::isinf(result) && std::isfinite(x)) raise_infinite(vm, infinite);
  }
  return Value::real(result);
}

template <Name name, Real2 function>
Value run_real2(Vm& vm, const Args& args) {
  expect_math(vm, args, name, 2, 2);
  double x = real_argument(vm, args[0]);
  double y = real_argument(vm, args[1]);
  double result = function(x, y);
  if (std::isnan(result) && !std::isnan(x) && !std::isnan(y)) raise_math_domain(vm);
  return Value::real(result);
}

template <Name name, Real1 function, Exc infinite = Exc::kValueError>
constexpr Native kReal{{Kind::kNative}, &run_real<name, function, infinite>, name};
template <Name name, Real1 function>
constexpr Native kGrowing = kReal<name, function, Exc::kOverflowError>;
template <Name name, Real2 function>
constexpr Native kReal2{{Kind::kNative}, &run_real2<name, function>, name};

// The multiple of y nearest to x, of two equally near the even one, subtracted from x: exact.
double nearest_remainder(double x, double y) {
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) ? x : y;
  if (std::isinf(x) || y == 0) return std::numeric_limits<double>::quiet_NaN();
  return std::remainder(x, y);
}

// ---- logarithms, of integers of any size too

template <Real1 log>
double log_of(Vm& vm, Value value) {
  double x;
  if (value.is_int()) {
    if (int_sign(value) <= 0) raise_math_domain(vm);
    charge_int(vm, value);
    if (!int_to_double_if_finite(value, x)) {
      std::int64_t exponent;
      double mantissa = int_frexp(value, exponent);
      return log(mantissa) + log(2.0) * static_cast<double>(exponent);
    }
  } else {
    x = real_argument(vm, value);
    if (x <= 0) raise_math_domain(vm);
    if (!std::isfinite(x)) return x;
  }
  return log(x);
}

Value math_log(Vm& vm, const Args& args) {
  double result = log_of<std::log>(vm, args[0]);
  if (args.count == 1) return Value::real(result);
  double base = log_of<std::log>(vm, args[1]);
  if (base == 0) vm.raise(Exc::kZeroDivisionError, "float division by zero");
  return Value::real(result / base);
}

template <Real1 log>
Value log_native(Vm& vm, const Args& args) {
  return Value::real(log_of<log>(vm, args[0]));
}

// ---- powers and remainders, whose errors follow rules of their own

Value math_pow(Vm& vm, const Args& args) {
  double x = real_argument(vm, args[0]);
  double y = real_argument(vm, args[1]);
  double result = std::pow(x, y);
  if (!std::isfinite(result) && std::isfinite(x) && std::isfinite(y)) {
    if (std::isnan(result) || x == 0) raise_math_domain(vm);
    raise_math_range(vm);
  }
  return Value::real(result);
}

double to_degrees(double x) { return x * (180.0 / kPi); }
double to_radians(double x) { return x * (kPi / 180.0); }

template <Real1 function>
Value unchecked(Vm& vm, const Args& args) {
  return Value::real(function(real_argument(vm, args[0])));
}

}  // namespace

const Native* math_function(Symbol name) {
  switch (name) {
    case N_acos: return &kReal<N_acos, std::acos>;
    case N_acosh: return &kReal<N_acosh, std::acosh>;
    case N_asin: return &kReal<N_asin, std::asin>;
    case N_asinh: return &kReal<N_asinh, std::asinh>;
    case N_atan: return &kReal<N_atan, std::atan>;
    case N_atan2: return &kReal2<N_atan2, std::atan2>;
    case N_atanh: return &kReal<N_atanh, std::atanh>;
    case N_cbrt: return &kReal<N_cbrt, std::cbrt>;
    case N_copysign: return &kReal2<N_copysign, std::copysign>;
    case N_cos: return &kReal<N_cos, std::cos>;
    case N_cosh: return &kGrowing<N_cosh, std::cosh>;
    case N_degrees: return &kMath<N_degrees, unchecked<to_degrees>, 1>;
    case N_erf: return &kReal<N_erf, std::erf>;
    case N_erfc: return &kReal<N_erfc, std::erfc>;
    case N_exp: return &kGrowing<N_exp, std::exp>;
    case N_exp2: return &kGrowing<N_exp2, std::exp2>;
    case N_expm1: return &kGrowing<N_expm1, std::expm1>;
    case N_fabs: return &kReal<N_fabs, std::fabs>;
    case N_fmod: return &kReal2<N_fmod, std::fmod>;
    case N_gamma: return &kGrowing<N_gamma, gamma_function>;
    case N_lgamma: return &kGrowing<N_lgamma, log_gamma_function>;
    case N_log: return &kMath<N_log, math_log, 1, 2>;
    case N_log10: return &kMath<N_log10, log_native<std::log10>, 1>;
    case N_log1p: return &kReal<N_log1p, std::log1p>;
    case N_log2: return &kMath<N_log2, log_native<std::log2>, 1>;
    case N_pow: return &kMath<N_pow, math_pow, 2>;
    case N_radians: return &kMath<N_radians, unchecked<to_radians>, 1>;
    case N_remainder: return &kReal2<N_remainder, nearest_remainder>;
    case N_sin: return &kReal<N_sin, std::sin>;
    case N_sinh: return &kGrowing<N_sinh, std::sinh>;
    case N_sqrt: return &kReal<N_sqrt, std::sqrt>;
    case N_tan: return &kReal<N_tan, std::tan>;
    case N_tanh: return &kReal<N_tanh, std::tanh>;
    default: return nullptr;
  }
}

}  // namespace reft
