// The builtin functions, and what they share. Signatures as NativeFn.
#pragma once

#include <initializer_list>

#include "base/vm.hpp"

namespace reft {

// The value of a static object.
inline Value static_value(const Object& object) {
  return Value::object(const_cast<Object*>(&object));
}

constexpr Native native(Symbol name, NativeFn fn) { return {{Kind::kNative}, fn, name}; }

// Stops if the value is something this interpreter does not have.
inline void require_known(Value value) {
  if (value.is(Kind::kForeign)) unsupported(value.as<Foreign>()->what);
}

// Binds positional and keyword arguments to parameters, with the TypeErrors of CPython's Argument
// Clinic. `out` has one place for each of `names`; unbound: not given.
void bind_arguments(Vm& vm, const Args& args, const char* function,
                    std::initializer_list<Symbol> names, std::uint32_t required, Value* out);

// The argument of a function that takes one.
inline Value one_argument(Vm& vm, const Args& args, const char* function) {
  expect_no_keywords(vm, args, function);
  expect_count(vm, args, function, 1, 1);
  return args[0];
}

// Exactly one positional argument, in the words of functions that parse them by hand.
inline void expect_one(Vm& vm, const Args& args, const char* function) {
  if (args.count != 1) vm.raise_type("%s expected 1 argument, got %u", function, args.count);
}

// Is `value` an instance of `type`, subtypes included?
bool is_instance(Value value, const Type& type);
bool is_callable(Value value);

// What stands for a builtin or method that is not here.
Value unsupported_builtin(Vm& vm, const Args& args);
Value unsupported_method(Vm& vm, const Args& args);
Value denied_builtin(Vm& vm, const Args& args);

// builtin_numbers.cpp
Value builtin_abs(Vm& vm, const Args& args);
Value builtin_bin(Vm& vm, const Args& args);
Value builtin_divmod(Vm& vm, const Args& args);
Value builtin_hex(Vm& vm, const Args& args);
Value builtin_oct(Vm& vm, const Args& args);
Value builtin_pow(Vm& vm, const Args& args);
Value builtin_round(Vm& vm, const Args& args);

// builtin_aggregates.cpp
Value builtin_all(Vm& vm, const Args& args);
Value builtin_any(Vm& vm, const Args& args);
Value builtin_iter(Vm& vm, const Args& args);
Value builtin_len(Vm& vm, const Args& args);
Value builtin_max(Vm& vm, const Args& args);
Value builtin_min(Vm& vm, const Args& args);
Value builtin_next(Vm& vm, const Args& args);
Value builtin_sorted(Vm& vm, const Args& args);
Value builtin_sum(Vm& vm, const Args& args);

// builtin_texts.cpp
Value builtin_ascii(Vm& vm, const Args& args);
Value builtin_chr(Vm& vm, const Args& args);
Value builtin_format(Vm& vm, const Args& args);
Value builtin_ord(Vm& vm, const Args& args);
Value builtin_print(Vm& vm, const Args& args);
Value builtin_repr(Vm& vm, const Args& args);

// builtin_objects.cpp
Value builtin_callable(Vm& vm, const Args& args);
Value builtin_getattr(Vm& vm, const Args& args);
Value builtin_hasattr(Vm& vm, const Args& args);
Value builtin_hash(Vm& vm, const Args& args);
Value builtin_isinstance(Vm& vm, const Args& args);
Value builtin_issubclass(Vm& vm, const Args& args);

}  // namespace reft
