// Builtin functions of numbers: abs, bin, divmod, hex, oct, pow, round.
#include <cmath>

#include "builtins/builtin_functions.hpp"
#include "containers/containers.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

double to_double(Vm& vm, Value number) {
  return number.is(Kind::kFloat) ? number.f : int_to_double(vm, number);
}

// The digits of an int after its sign and a prefix: -0xff.
Value in_base(Vm& vm, const Args& args, const char* name, char base) {
  Value number = one_argument(vm, args, name);
  if (!number.is_int()) index_argument(vm, number);  // raises
  std::string_view digits = int_to_base(vm, number, base).as<Str>()->view();
  TextBuilder text(vm);
  if (digits.front() == '-') {
    text.append('-');
    digits.remove_prefix(1);
  }
  const char prefix[2] = {'0', base};
  text.append(std::string_view(prefix, 2));
  text.append(digits);
  return text.finish();
}

Value pow_mod(Vm& vm, Value base, Value exponent, Value modulus) {
  if (base.is_int() && exponent.is_int() && modulus.is_int()) {
    return int_pow_mod(vm, base, exponent, modulus);
  }
  require_known(base);
  require_known(exponent);
  require_known(modulus);
  if (base.is(Kind::kFloat) || exponent.is(Kind::kFloat) || modulus.is(Kind::kFloat)) {
    vm.raise_type("pow() 3rd argument not allowed unless all arguments are integers");
  }
  vm.raise_type("unsupported operand type(s) for ** or pow(): '%s', '%s', '%s'", type_name(base),
                type_name(exponent), type_name(modulus));
}

Value round_int(Vm& vm, Value number, Value places) {
  if (!places.is_none() && !places.is_unbound()) {
    if (!places.is_int()) index_argument(vm, places);  // raises
    if (int_sign(places) < 0) return int_round(vm, number, int_neg(vm, places));
  }
  return number.is(Kind::kBool) ? Value::integer(number.i) : number;
}

}  // namespace

Value builtin_abs(Vm& vm, const Args& args) {
  Value number = one_argument(vm, args, "abs");
  if (number.is(Kind::kFloat)) return Value::real(std::fabs(number.f));
  if (number.is_int()) return int_abs(vm, number);
  require_known(number);
  vm.raise_type("bad operand type for abs(): '%s'", type_name(number));
}

Value builtin_bin(Vm& vm, const Args& args) { return in_base(vm, args, "bin", 'b'); }
Value builtin_hex(Vm& vm, const Args& args) { return in_base(vm, args, "hex", 'x'); }
Value builtin_oct(Vm& vm, const Args& args) { return in_base(vm, args, "oct", 'o'); }

Value builtin_divmod(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "divmod");
  expect_count(vm, args, "divmod", 2, 2);
  Value a = args[0], b = args[1];
  Value pair[2];
  if (a.is_int() && b.is_int()) {
    int_divmod(vm, a, b, pair[0], pair[1]);
  } else if (a.is_number() && b.is_number()) {
    double x = to_double(vm, a), y = to_double(vm, b);
    if (y == 0) vm.raise(Exc::kZeroDivisionError, "float divmod()");
    pair[0] = Value::real(float_floordiv(vm, x, y));
    pair[1] = Value::real(float_mod(vm, x, y));
  } else {
    require_known(a);
    require_known(b);
    vm.raise_type("unsupported operand type(s) for divmod(): '%s' and '%s'", type_name(a),
                  type_name(b));
  }
  return Value::object(make_tuple(vm, pair, 2));
}

Value builtin_pow(Vm& vm, const Args& args) {
  Value given[3];
  bind_arguments(vm, args, "pow", {N_base, N_exp, N_mod}, 2, given);
  if (given[2].is_unbound() || given[2].is_none()) {
    return binary(vm, Binary::kPow, given[0], given[1]);
  }
  return pow_mod(vm, given[0], given[1], given[2]);
}

Value builtin_round(Vm& vm, const Args& args) {
  Value given[2];
  bind_arguments(vm, args, "round", {N_number, N_ndigits}, 1, given);
  Value number = given[0], places = given[1];
  if (number.is(Kind::kFloat)) {
    if (places.is_unbound() || places.is_none()) return round_float_to_int(vm, number.f);
    return Value::real(round_float(vm, number.f, clamped_index(vm, places)));
  }
  if (number.is_int()) return round_int(vm, number, places);
  require_known(number);
  vm.raise_type("type %s doesn't define __round__ method", type_name(number));
}

}  // namespace reft
