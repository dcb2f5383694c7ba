// The operators of floats that C++ has not: floored division, modulo, power with CPython's errors.
#include <cerrno>
#include <cmath>

#include "containers/containers.hpp"
#include "numbers/number_text.hpp"

namespace reft {
namespace {

// fmod works off its quotient bit by bit.
double remainder(Vm& vm, double a, double b) {
  constexpr double kCheap = 0x1p64;
  if (std::fabs(a) > std::fabs(b) * kCheap) vm.charge(64);
  return std::fmod(a, b);
}

struct Division {
  double quotient;
  double remainder;
};

Division divide(Vm& vm, double a, double b) {
  double rest = remainder(vm, a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1.0;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (quotient == 0) return {std::copysign(0.0, a / b), rest};
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1.0;  // the division was an ulp off
  return {floored, rest};
}

bool is_odd(double value) { return std::fmod(std::fabs(value), 2.0) == 1.0; }

[[noreturn]] void raise_out_of_range(Vm& vm) {
  Value items[] = {Value::integer(ERANGE), make_str(vm, "Numerical result out of range")};
  auto* exception = vm.make<Exception>(Kind::kException);
  exception->type = Exc::kOverflowError;
  exception->args = make_tuple(vm, items, 2);
  exception->cause = Value::unbound();
  vm.raise_value(Value::object(exception));
}

double infinite_power(double a, double b) {
  if (std::isinf(b)) {
    double base = std::fabs(a);
    if (base == 1.0) return 1.0;
    return (b > 0) == (base > 1.0) ? std::fabs(b) : 0.0;
  }
  bool odd = is_odd(b);
  if (b > 0) return odd ? a : std::fabs(a);
  return odd ? std::copysign(0.0, a) : 0.0;
}

}  // namespace

double float_floordiv(Vm& vm, double a, double b) {
  if (b == 0) vm.raise(Exc::kZeroDivisionError, "float floor division by zero");
  return divide(vm, a, b).quotient;
}

double float_mod(Vm& vm, double a, double b) {
  if (b == 0) vm.raise(Exc::kZeroDivisionError, "float modulo");
  double rest = remainder(vm, a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (b < 0) != (rest < 0) ? rest + b : rest;
}

void float_divmod(Vm& vm, double a, double b, double& quotient, double& remainder) {
  if (b == 0) vm.raise(Exc::kZeroDivisionError, "float divmod()");
  Division division = divide(vm, a, b);
  quotient = division.quotient;
  remainder = division.remainder;
}

double float_pow(Vm& vm, double a, double b) {
  if (b == 0) return 1.0;
  if (std::isnan(a)) return a;
  if (std::isnan(b)) return a == 1.0 ? 1.0 : b;
  if (std::isinf(a) || std::isinf(b)) return infinite_power(a, b);
  if (a == 0) {
    if (b < 0) {
      vm.raise(Exc::kZeroDivisionError, "0.0 cannot be raised to a negative power");
    }
    return is_odd(b) ? a : 0.0;
  }
  bool negate = false;
  if (a < 0) {
    if (b != std::floor(b)) unsupported("complex numbers");
    a = -a;
    negate = is_odd(b);
  }
  if (a == 1.0) return negate ? -1.0 : 1.0;
  double power = std::pow(a, b);
  if (std::isinf(power)) raise_out_of_range(vm);
  return negate ? -power : power;
}

}  // namespace reft
