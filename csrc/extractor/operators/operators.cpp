// The operators: numbers here, everything else by collection_operators.hpp; and what is true.
#include "operators/operators.hpp"

#include "builtins/builtins.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/collection_operators.hpp"

namespace reft {
namespace {

constexpr const char* kTexts[] = {"+",  "-",  "*", "/", "//", "%", "** or pow()",
                                  "<<", ">>", "&", "|", "^",  "@"};
constexpr const char* kInPlaceTexts[] = {
    "+=", "-=", "*=", "/=", "//=", "%=", "**=", "<<=", ">>=", "&=", "|=", "^=", "@="};

[[noreturn]] void operand_error(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  const char* text = (in_place ? kInPlaceTexts : kTexts)[static_cast<int>(op)];
  bool print =
      op == Binary::kRShift && !in_place && a.is(Kind::kNative) && a.o == builtin(N_print).o;
  vm.raise_type("unsupported operand type(s) for %s: '%.100s' and '%.100s'%s", text, type_name(a),
                type_name(b),
                print ? ". Did you mean \"print(<message>, file=<output_stream>)\"?" : "");
}

bool floor_divides(Value a, Value b) { return a.is_small_int() && b.is_small_int() && b.i > 0; }

bool exact_as_double(Value a) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 53;
  return a.is_small_int() && a.i >= -kLimit && a.i <= kLimit;
}

Value divide_ints(Vm& vm, Value a, Value b) {
  if (exact_as_double(a) && exact_as_double(b) && b.i != 0) {
    return Value::real(static_cast<double>(a.i) / static_cast<double>(b.i));
  }
  return int_truediv(vm, a, b);
}

Value combine_bits(Vm& vm, Binary op, Value a, Value b) {
  Value bits = op == Binary::kAnd  ? int_and(vm, a, b)
               : op == Binary::kOr ? int_or(vm, a, b)
                                   : int_xor(vm, a, b);
  return a.is(Kind::kBool) && b.is(Kind::kBool) ? Value::boolean(bits.i != 0) : bits;
}

Value binary_of_ints(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  bool small = a.is_small_int() && b.is_small_int();
  std::int64_t result;
  switch (op) {
    case Binary::kAdd:
      if (small && !__builtin_add_overflow(a.i, b.i, &result)) return Value::integer(result);
      return int_add(vm, a, b);
    case Binary::kSub:
      if (small && !__builtin_sub_overflow(a.i, b.i, &result)) return Value::integer(result);
      return int_sub(vm, a, b);
    case Binary::kMul:
      if (small && !__builtin_mul_overflow(a.i, b.i, &result)) return Value::integer(result);
      return int_mul(vm, a, b);
    case Binary::kTrueDiv: return divide_ints(vm, a, b);
    case Binary::kFloorDiv:
      if (!floor_divides(a, b)) return int_floordiv(vm, a, b);
      return Value::integer(a.i / b.i - (a.i % b.i < 0 ? 1 : 0));
    case Binary::kMod:
      if (!floor_divides(a, b)) return int_mod(vm, a, b);
      result = a.i % b.i;
      return Value::integer(result < 0 ? result + b.i : result);
    case Binary::kPow: return int_pow(vm, a, b);
    case Binary::kLShift: return int_lshift(vm, a, b);
    case Binary::kRShift: return int_rshift(vm, a, b);
    case Binary::kAnd:
    case Binary::kOr:
    case Binary::kXor: return combine_bits(vm, op, a, b);
    case Binary::kMatMul: break;
  }
  operand_error(vm, op, a, b, in_place);
}

double as_double(Vm& vm, Value a) {
  if (a.is(Kind::kFloat)) return a.f;
  return exact_as_double(a) ? static_cast<double>(a.i) : int_to_double(vm, a);
}

// At least one of them is a float.
Value binary_of_floats(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  if (op > Binary::kPow) operand_error(vm, op, a, b, in_place);
  double x = as_double(vm, a);
  double y = as_double(vm, b);
  switch (op) {
    case Binary::kAdd: return Value::real(x + y);
    case Binary::kSub: return Value::real(x - y);
    case Binary::kMul: return Value::real(x * y);
    case Binary::kTrueDiv:
      if (y == 0) vm.raise(Exc::kZeroDivisionError, "float division by zero");
      return Value::real(x / y);
    case Binary::kFloorDiv: return Value::real(float_floordiv(vm, x, y));
    case Binary::kMod: return Value::real(float_mod(vm, x, y));
    default: return Value::real(float_pow(vm, x, y));
  }
}

bool may_be_in_union(Value a) { return a.is(Kind::kType) || a.is_none(); }

Value binary_of_objects(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  if (a.is(Kind::kForeign) || b.is(Kind::kForeign)) unsupported("an operator on a foreign value");
  Value result;
  switch (op) {
    case Binary::kAdd: result = add_sequences(vm, a, b, in_place); break;
    case Binary::kMul: result = multiply_sequence(vm, a, b, in_place); break;
    case Binary::kMod:
      if (a.is(Kind::kStr)) return format_percent(vm, *a.as<Str>(), b);
      break;
    case Binary::kOr:
      if ((a.is(Kind::kType) || b.is(Kind::kType)) && may_be_in_union(a) && may_be_in_union(b)) {
        unsupported("a union of types");
      }
      [[fallthrough]];
    case Binary::kSub:
    case Binary::kAnd:
    case Binary::kXor: result = combine_sets(vm, op, a, b, in_place); break;
    default: break;
  }
  if (result.is_unbound()) operand_error(vm, op, a, b, in_place);
  return result;
}

[[noreturn]] void unary_error(Vm& vm, char op, Value a) {
  if (a.is(Kind::kForeign)) unsupported("an operator on a foreign value");
  vm.raise_type("bad operand type for unary %c: '%.200s'", op, type_name(a));
}

}  // namespace

Value binary(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  if (!a.is_number() || !b.is_number()) return binary_of_objects(vm, op, a, b, in_place);
  if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return binary_of_floats(vm, op, a, b, in_place);
  return binary_of_ints(vm, op, a, b, in_place);
}

Value negative(Vm& vm, Value a) {
  if (a.is(Kind::kFloat)) return Value::real(-a.f);
  if (a.is_small_int() && a.i != INT64_MIN) return Value::integer(-a.i);
  if (a.is_int()) return int_neg(vm, a);
  unary_error(vm, '-', a);
}

Value positive(Vm& vm, Value a) {
  if (a.is(Kind::kBool)) return Value::integer(a.i);
  if (a.is_number()) return a;
  unary_error(vm, '+', a);
}

Value invert(Vm& vm, Value a) {
  if (a.is_small_int()) return Value::integer(~a.i);
  if (a.is_int()) return int_invert(vm, a);
  unary_error(vm, '~', a);
}

bool truth_of_object(Vm&, Value a) {
  switch (a.kind) {
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return a.i != 0;
    case Kind::kFloat: return a.f != 0;
    case Kind::kStr: return a.as<Str>()->bytes != 0;
    case Kind::kTuple: return a.as<Tuple>()->size != 0;
    case Kind::kList: return a.as<List>()->size != 0;
    case Kind::kDict: return a.as<Dict>()->size != 0;
    case Kind::kSet: return a.as<Set>()->used != 0;
    case Kind::kRange: return a.as<Range>()->size != 0;
    case Kind::kDictView: return a.as<DictView>()->dict->size != 0;
    case Kind::kForeign: unsupported("the truth of a foreign value");
    default: return true;
  }
}

}  // namespace reft
