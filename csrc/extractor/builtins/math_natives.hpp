// What the files of module math share. Functions give null for a name that is not among theirs.
#pragma once

#include "base/names.hpp"
#include "base/vm.hpp"

namespace reft {

const Native* math_function(Symbol name);  // math_functions.cpp: of floats, to one float
const Native* math_float(Symbol name);     // math_floats.cpp: what a float is made of
const Native* math_integer(Symbol name);   // math_integers.cpp
const Native* math_sum(Symbol name);       // math_sums.cpp: of many numbers

// math_special.cpp. Nan where the function has no value, infinite where its value is too large.
double gamma_function(double x);
double log_gamma_function(double x);

// Raises CPython's TypeErrors. Functions of exactly one argument have words of their own.
[[noreturn]] void raise_math_arguments(Vm& vm, const Args& args, Symbol name, std::uint32_t least,
                                       std::uint32_t most);
inline void expect_math(Vm& vm, const Args& args, Symbol name, std::uint32_t least,
                        std::uint32_t most) {
  if (args.keyword_count != 0 || args.count < least || args.count > most) {
    raise_math_arguments(vm, args, name, least, most);
  }
}

// A number as a double; TypeError "must be real number, not str", OverflowError.
double to_real(Vm& vm, Value value);
inline double real_argument(Vm& vm, Value value) {
  return value.is(Kind::kFloat) ? value.f : to_real(vm, value);
}

[[noreturn]] inline void raise_math_domain(Vm& vm) {
  vm.raise(Exc::kValueError, "math domain error");
}
[[noreturn]] inline void raise_math_range(Vm& vm) {
  vm.raise(Exc::kOverflowError, "math range error");
}

// kMath<name, fn, least, most> is the Native; `fn` may rely on the number of its arguments.
template <Name name, NativeFn fn, std::uint32_t least, std::uint32_t most>
Value run_math(Vm& vm, const Args& args) {
  expect_math(vm, args, name, least, most);
  return fn(vm, args);
}

template <Name name, NativeFn fn, std::uint32_t least, std::uint32_t most = least>
inline constexpr Native kMath{{Kind::kNative}, &run_math<name, fn, least, most>, name};

}  // namespace reft
