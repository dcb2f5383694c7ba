// a.name, and modules.
#include "builtins/builtin_functions.hpp"
#include "builtins/builtins.hpp"
#include "machine/machine.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

bool is_dunder(std::string_view text) {
  return text.size() > 4 && text.substr(0, 2) == "__" && text.substr(text.size() - 2) == "__";
}

constexpr char kTypingText[] = "typing";

constexpr struct {
  Symbol name;
  const char* what;
} kModules[] = {
    {N_sympy, "sympy"},
    {N_sys, "sys"},
    {N_typing, kTypingText},
    {N_numpy, "numpy"},
    {N_fractions, "fractions"},
    {N_decimal, "decimal"},
    {N_datetime, "datetime"},
    {N_itertools, "itertools"},
    {N_collections, "collections"},
    {N_statistics, "statistics"},
    {N_functools, "functools"},
    {N_random, "random"},
    {N_re, "re"},
    {N_string, "string"},
    {N_time, "time"},
    {N_operator, "operator"},
    {N_cmath, "cmath"},
    {N_copy, "copy"},
    {N_heapq, "heapq"},
    {N_bisect, "bisect"},
    {N_numbers, "numbers"},
    {N_calendar, "calendar"},
    {N_dateutil, "dateutil"},
    {N_scipy, "scipy"},
    {N_pandas, "pandas"},
    {N_mpmath, "mpmath"},
    {N_json, "json"},
    {N_enum, "enum"},
    {N_dataclasses, "dataclasses"},
    {N_abc, "abc"},
    {N_types, "types"},
    {N_textwrap, "textwrap"},
    {N_unicodedata, "unicodedata"},
};

Module kMath{{Kind::kModule}, N_math};

}  // namespace

const char* const kTyping = kTypingText;

Value import_module(Vm& vm, Symbol name) {
  if (name == N_math) return Value::object(&kMath);
  for (const auto& module : kModules) {
    if (module.name != name) continue;
    auto* foreign = vm.make<Foreign>(Kind::kForeign);
    foreign->what = module.what;
    return Value::object(foreign);
  }
  unsupported("a module that is not known");
}

Value module_member(Vm& vm, const Module& module, Symbol name) {
  Value member = math_member(name);
  if (!member.is_unbound()) return member;
  std::string_view text = vm.symbol_text(name);
  if (is_dunder(text)) unsupported("an attribute with two underscores");
  std::string_view of = vm.symbol_text(module.name);
  vm.raise(Exc::kAttributeError, "module '%.*s' has no attribute '%.*s'",
           static_cast<int>(of.size()), of.data(), static_cast<int>(text.size()), text.data());
}

void no_attribute(Vm& vm, Value a, Symbol name) {
  std::string_view text = vm.symbol_text(name);
  if (is_dunder(text)) unsupported("an attribute with two underscores");
  if (a.is(Kind::kFunction) || a.is(Kind::kNative) || a.is(Kind::kMethod) || a.is(Kind::kForeign)) {
    unsupported("an attribute of a function");
  }
  if (a.is(Kind::kType)) {
    std::string_view type = name_text(a.as<Type>()->name);
    vm.raise(Exc::kAttributeError, "type object '%.*s' has no attribute '%.*s'",
             static_cast<int>(type.size()), type.data(), static_cast<int>(text.size()),
             text.data());
  }
  vm.raise(Exc::kAttributeError, "'%s' object has no attribute '%.*s'", type_name(a),
           static_cast<int>(text.size()), text.data());
}

Value get_attribute(Vm& vm, Value a, Symbol name) {
  if (a.is(Kind::kModule)) return module_member(vm, *a.as<Module>(), name);
  if (a.is(Kind::kForeign)) unsupported(a.as<Foreign>()->what);
  if (a.is(Kind::kType)) {
    if (name == N___name__) return borrow_str(vm, type_name(*a.as<Type>()));
    const Native* native = find_type_method(*a.as<Type>(), name);
    if (native == nullptr) no_attribute(vm, a, name);
    if (native->fn == unsupported_method) unsupported("an attribute of a type");
    return Value::object(const_cast<Native*>(native));
  }
  if (a.is(Kind::kFunction) && name == N___name__) {
    return borrow_str(vm, function_name(vm, *a.as<Function>()->code));
  }
  Value data = data_attribute(vm, a, name);
  if (!data.is_unbound()) return data;
  const Native* native = find_method(a, name);
  if (native == nullptr) no_attribute(vm, a, name);
  auto* method = vm.make<Method>(Kind::kMethod);
  method->native = native;
  method->self = a;
  return Value::object(method);
}

}  // namespace reft
