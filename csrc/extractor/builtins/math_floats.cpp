// Module math: what a float is made of, its neighbours, and whether two are close.
#include <climits>
#include <cmath>
#include <limits>

#include "builtins/builtin_functions.hpp"
#include "builtins/math_natives.hpp"
#include "containers/containers.hpp"

namespace reft {
namespace {

Value pair(Vm& vm, Value first, Value second) {
  const Value items[2] = {first, second};
  return Value::object(make_tuple(vm, items, 2));
}

Value math_frexp(Vm& vm, const Args& args) {
  double x = real_argument(vm, args[0]);
  int exponent = 0;
  if (std::isfinite(x)) x = std::frexp(x, &exponent);
  return pair(vm, Value::real(x), Value::integer(exponent));
}

Value math_modf(Vm& vm, const Args& args) {
  double x = real_argument(vm, args[0]);
  if (std::isnan(x)) return pair(vm, Value::real(x), Value::real(x));
  double whole;
  double fraction = std::modf(x, &whole);
  return pair(vm, Value::real(fraction), Value::real(whole));
}

Value math_ldexp(Vm& vm, const Args& args) {
  double x = real_argument(vm, args[0]);
  require_known(args[1]);
  if (!args[1].is_int()) vm.raise_type("Expected an int as second argument to ldexp.");
  std::int64_t exponent = clamped_index(vm, args[1]);
  if (x == 0 || !std::isfinite(x)) return Value::real(x);
  if (exponent > INT_MAX) raise_math_range(vm);
  if (exponent < INT_MIN) return Value::real(std::copysign(0.0, x));
  double result = std::ldexp(x, static_cast<int>(exponent));
  if (std::isinf(result)) raise_math_range(vm);
  return Value::real(result);
}

Value math_nextafter(Vm& vm, const Args& args) {
  double x = real_argument(vm, args[0]);
  double y = real_argument(vm, args[1]);
  return Value::real(std::nextafter(x, y));
}

Value math_ulp(Vm& vm, const Args& args) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double x = std::fabs(real_argument(vm, args[0]));
  if (!std::isfinite(x)) return Value::real(x);
  double above = std::nextafter(x, kInfinity);
  return Value::real(std::isinf(above) ? x - std::nextafter(x, -kInfinity) : above - x);
}

// ---- tests

Value math_isfinite(Vm& vm, const Args& args) {
  return Value::boolean(std::isfinite(real_argument(vm, args[0])));
}
Value math_isinf(Vm& vm, const Args& args) {
  return Value::boolean(std::isinf(real_argument(vm, args[0])));
}
Value math_isnan(Vm& vm, const Args& args) {
  return Value::boolean(std::isnan(real_argument(vm, args[0])));
}

bool is_close(double a, double b, double relative, double absolute) {
  if (a == b) return true;
  if (std::isinf(a) || std::isinf(b)) return false;
  double difference = std::fabs(b - a);
  return difference <= std::fabs(relative * b) || difference <= std::fabs(relative * a) ||
         difference <= absolute;
}

// `a` and `b` have no known symbols, so keywords are told by their spelling.
constexpr std::string_view kCloseNames[4] = {"a", "b", "rel_tol", "abs_tol"};

void bind_isclose(Vm& vm, const Args& args, Value* out) {
  expect_at_most(vm, args, "isclose", 4);
  if (args.count > 2) {
    vm.raise_type("isclose() takes exactly 2 positional arguments (%u given)", args.count);
  }
  for (std::uint32_t i = 0; i < args.count; ++i) out[i] = args[i];
  const Keyword* unknown = nullptr;
  std::uint32_t twice = 4;
  for (std::uint32_t k = 0; k < args.keyword_count; ++k) {
    std::string_view name = vm.symbol_text(args.keywords[k].name);
    std::uint32_t i = 0;
    while (i < 4 && kCloseNames[i] != name) ++i;
    if (i == 4) {
      unknown = unknown == nullptr ? &args.keywords[k] : unknown;
    } else if (i < args.count) {
      twice = twice < i ? twice : i;
    } else {
      out[i] = args.keywords[k].value;
    }
  }
  for (std::uint32_t i = 0; i < 2; ++i) {
    if (!out[i].is_unbound()) continue;
    vm.raise_type("isclose() missing required argument '%s' (pos %u)", kCloseNames[i].data(),
                  i + 1);
  }
  if (twice < 4) {
    vm.raise_type("argument for isclose() given by name ('%s') and position (%u)",
                  kCloseNames[twice].data(), twice + 1);
  }
  if (unknown != nullptr) {
    std::string_view name = vm.symbol_text(unknown->name);
    vm.raise_type("'%.*s' is an invalid keyword argument for isclose()",
                  static_cast<int>(name.size()), name.data());
  }
}

Value math_isclose(Vm& vm, const Args& args) {
  Value given[4];
  bind_isclose(vm, args, given);
  double a = real_argument(vm, given[0]);
  double b = real_argument(vm, given[1]);
  double relative = given[2].is_unbound() ? 1e-09 : real_argument(vm, given[2]);
  double absolute = given[3].is_unbound() ? 0.0 : real_argument(vm, given[3]);
  if (relative < 0 || absolute < 0) {
    vm.raise(Exc::kValueError, "tolerances must be non-negative");
  }
  return Value::boolean(is_close(a, b, relative, absolute));
}

constexpr Native kIsclose{{Kind::kNative}, math_isclose, N_isclose};

}  // namespace

const Native* math_float(Symbol name) {
  switch (name) {
    case N_frexp: return &kMath<N_frexp, math_frexp, 1>;
    case N_isclose: return &kIsclose;
    case N_isfinite: return &kMath<N_isfinite, math_isfinite, 1>;
    case N_isinf: return &kMath<N_isinf, math_isinf, 1>;
    case N_isnan: return &kMath<N_isnan, math_isnan, 1>;
    case N_ldexp: return &kMath<N_ldexp, math_ldexp, 2>;
    case N_modf: return &kMath<N_modf, math_modf, 1>;
    case N_nextafter: return &kMath<N_nextafter, math_nextafter, 2>;
    case N_ulp: return &kMath<N_ulp, math_ulp, 1>;
    default: return nullptr;
  }
}

}  // namespace reft
