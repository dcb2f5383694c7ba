// Module math: its constants, where its functions are, and how they take their arguments.
#include <limits>
#include <numbers>

#include "builtins/builtin_functions.hpp"
#include "builtins/builtins.hpp"
#include "builtins/math_natives.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"

namespace reft {

Value math_member(Symbol name) {
  switch (name) {
    case N_pi: return Value::real(std::numbers::pi);
    case N_e: return Value::real(std::numbers::e);
    case N_tau: return Value::real(2 * std::numbers::pi);
    case N_inf: return Value::real(std::numeric_limits<double>::infinity());
    case N_nan: return Value::real(std::numeric_limits<double>::quiet_NaN());
    default: break;
  }
  const Native* native = math_function(name);
  if (native == nullptr) native = math_integer(name);
  if (native == nullptr) native = math_sum(name);
  if (native == nullptr) native = math_float(name);
  return native == nullptr ? Value::unbound() : static_value(*native);
}

void raise_math_arguments(Vm& vm, const Args& args, Symbol name, std::uint32_t least,
                          std::uint32_t most) {
  const char* text = name_text(name).data();
  if (args.keyword_count != 0) {
    vm.raise_type("%s%s() takes no keyword arguments", name == N_log ? "" : "math.", text);
  }
  if (name == N_log) vm.raise_type("math.log requires 1 to 2 arguments");
  if (most == 1) vm.raise_type("math.%s() takes exactly one argument (%u given)", text, args.count);
  expect_count(vm, args, text, least, most);
  unsupported("such arguments of a function of math");
}

double to_real(Vm& vm, Value value) {
  if (value.is(Kind::kFloat)) return value.f;
  if (value.is_small_int()) return static_cast<double>(value.i);
  if (value.is_int()) return int_to_double(vm, value);
  require_known(value);
  vm.raise_type("must be real number, not %s", type_name(value));
}

}  // namespace reft
