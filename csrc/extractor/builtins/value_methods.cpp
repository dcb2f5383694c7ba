// Methods of int, float, slice and generator objects.
#include "builtins/value_methods.hpp"

#include <cmath>

#include "builtins/builtin_functions.hpp"
#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

template <std::size_t kCount>
const Native* find(const Native (&table)[kCount], Symbol name) {
  for (const Native& method : table) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

// The object a method is called on. It may be anything in int.bit_length(x).
Value self_of(Vm& vm, const Args& args, TypeId type, const char* method) {
  std::string_view name = name_text(type_object(type)->name);
  if (args.count == 0) {
    vm.raise_type("unbound method %s.%s() needs an argument", name.data(), method);
  }
  require_known(args[0]);
  if (!is_instance(args[0], *type_object(type))) {
    vm.raise_type("descriptor '%s' for '%s' objects doesn't apply to a '%s' object", method,
                  name.data(), type_name(args[0]));
  }
  return args[0];
}

Value pair_of(Vm& vm, Value a, Value b) {
  Value pair[2] = {a, b};
  return Value::object(make_tuple(vm, pair, 2));
}

// ---- int

Value plain_int(Value a) { return a.is(Kind::kBool) ? Value::integer(a.i) : a; }

Value int_as_integer_ratio(Vm& vm, const Args& args) {
  Value self = self_of(vm, args, TypeId::kInt, "as_integer_ratio");
  expect_method(vm, args, "int.as_integer_ratio", 0, 0);
  return pair_of(vm, plain_int(self), Value::integer(1));
}

Value int_bit_count_method(Vm& vm, const Args& args) {
  Value self = self_of(vm, args, TypeId::kInt, "bit_count");
  expect_method(vm, args, "int.bit_count", 0, 0);
  return Value::integer(static_cast<std::int64_t>(int_bit_count(self)));
}

Value int_bit_length_method(Vm& vm, const Args& args) {
  Value self = self_of(vm, args, TypeId::kInt, "bit_length");
  expect_method(vm, args, "int.bit_length", 0, 0);
  return Value::integer(static_cast<std::int64_t>(int_bit_length(self)));
}

Value int_conjugate(Vm& vm, const Args& args) {
  Value self = self_of(vm, args, TypeId::kInt, "conjugate");
  expect_method(vm, args, "int.conjugate", 0, 0);
  return plain_int(self);
}

constexpr Native kIntMethods[] = {
    native(N_as_integer_ratio, int_as_integer_ratio), native(N_bit_count, int_bit_count_method),
    native(N_bit_length, int_bit_length_method),      native(N_conjugate, int_conjugate),
    native(N_from_bytes, unsupported_method),         native(N_to_bytes, unsupported_method),
};

// ---- float

Value float_as_integer_ratio(Vm& vm, const Args& args) {
  double self = self_of(vm, args, TypeId::kFloat, "as_integer_ratio").f;
  expect_method(vm, args, "float.as_integer_ratio", 0, 0);
  if (std::isinf(self)) {
    vm.raise(Exc::kOverflowError, "cannot convert Infinity to integer ratio");
  }
  if (std::isnan(self)) vm.raise(Exc::kValueError, "cannot convert NaN to integer ratio");
  int exponent;
  double mantissa = std::frexp(self, &exponent);
  for (; mantissa != std::floor(mantissa); --exponent) mantissa *= 2;  // at most 53 times
  Value numerator = int_from_double(vm, mantissa);
  Value power = int_lshift(vm, Value::integer(1), Value::integer(std::abs(exponent)));
  if (exponent < 0) return pair_of(vm, numerator, power);
  return pair_of(vm, int_mul(vm, numerator, power), Value::integer(1));
}

Value float_conjugate(Vm& vm, const Args& args) {
  Value self = self_of(vm, args, TypeId::kFloat, "conjugate");
  expect_method(vm, args, "float.conjugate", 0, 0);
  return self;
}

// -0x1.8000000000000p+1
Value float_hex(Vm& vm, const Args& args) {
  double self = self_of(vm, args, TypeId::kFloat, "hex").f;
  expect_method(vm, args, "float.hex", 0, 0);
  if (!std::isfinite(self)) return repr(vm, Value::real(self));
  TextBuilder text(vm);
  if (std::signbit(self)) text.append('-');
  if (self == 0) {
    text.append("0x0.0p+0");
    return text.finish();
  }
  int exponent;
  double mantissa = std::frexp(std::fabs(self), &exponent);
  int shift = exponent < -1021 ? exponent + 1022 : 1;  // subnormals keep the least exponent
  mantissa = std::ldexp(mantissa, shift);
  exponent -= shift;
  text.append("0x");
  for (int digit = -1; digit < 13; ++digit) {
    int value = static_cast<int>(mantissa);
    text.append("0123456789abcdef"[value]);
    if (digit < 0) text.append('.');
    mantissa = (mantissa - value) * 16;
  }
  text.append('p');
  text.append(exponent < 0 ? '-' : '+');
  text.append(int_to_decimal(vm, Value::integer(std::abs(exponent))).as<Str>()->view());
  return text.finish();
}

Value float_is_integer(Vm& vm, const Args& args) {
  double self = self_of(vm, args, TypeId::kFloat, "is_integer").f;
  expect_method(vm, args, "float.is_integer", 0, 0);
  return Value::boolean(std::isfinite(self) && std::floor(self) == self);
}

constexpr Native kFloatMethods[] = {
    native(N_as_integer_ratio, float_as_integer_ratio),
    native(N_conjugate, float_conjugate),
    native(N_fromhex, unsupported_method),
    native(N_hex, float_hex),
    native(N_is_integer, float_is_integer),
};

// ---- slice

Value slice_indices(Vm& vm, const Args& args) {
  const Slice& self = *self_of(vm, args, TypeId::kSlice, "indices").as<Slice>();
  expect_method(vm, args, "slice.indices", 1, 1);
  for (Value part : {self.start, self.stop, self.step, args[1]}) {
    if (part.is(Kind::kBig)) unsupported("a slice beyond 64 bits");
  }
  std::int64_t size = index_argument(vm, args[1]);
  if (size < 0) vm.raise(Exc::kValueError, "length should not be negative");
  std::int64_t start, stop, step;
  slice_bounds(vm, self, size, start, stop, step);
  Value bounds[3] = {Value::integer(start), Value::integer(stop), Value::integer(step)};
  return Value::object(make_tuple(vm, bounds, 3));
}

constexpr Native kSliceMethods[] = {native(N_indices, slice_indices)};

// ---- generator

Value generator_close(Vm& vm, const Args& args) {
  Generator& self = *self_of(vm, args, TypeId::kGenerator, "close").as<Generator>();
  expect_method(vm, args, "generator.close", 0, 0);
  if (self.running || (self.frame != nullptr && self.started)) {
    unsupported("closing a generator that has begun");
  }
  self.frame = nullptr;
  return Value::none();
}

Value generator_send(Vm& vm, const Args& args) {
  Generator& self = *self_of(vm, args, TypeId::kGenerator, "send").as<Generator>();
  expect_method(vm, args, "generator.send", 1, 1);
  Value item;
  if (resume(vm, self, args[1], item)) return item;
  if (item.is_unbound() || item.is_none()) vm.raise_without_message(Exc::kStopIteration);
  vm.raise_with(Exc::kStopIteration, item);
}

constexpr Native kGeneratorMethods[] = {
    native(N_close, generator_close),
    native(N_send, generator_send),
    native(N_throw, unsupported_method),
};

// ---- exceptions

constexpr Native kExceptionMethods[] = {
    native(N_add_note, unsupported_method),
    native(N_with_traceback, unsupported_method),
};

}  // namespace

const Native* int_method(Symbol name) { return find(kIntMethods, name); }
const Native* float_method(Symbol name) { return find(kFloatMethods, name); }
const Native* slice_method(Symbol name) { return find(kSliceMethods, name); }
const Native* generator_method(Symbol name) { return find(kGeneratorMethods, name); }
const Native* exception_method(Symbol name) { return find(kExceptionMethods, name); }

}  // namespace reft
