// Which builtin a name is, and which attributes a value has.
#include "builtins/builtins.hpp"

#include <array>

#include "builtins/builtin_functions.hpp"
#include "builtins/value_methods.hpp"
#include "containers/container_methods.hpp"
#include "text/str_methods.hpp"

namespace reft {
namespace {

// ---- names

constexpr Native kFunctions[] = {
    native(N_abs, builtin_abs),
    native(N_all, builtin_all),
    native(N_any, builtin_any),
    native(N_ascii, builtin_ascii),
    native(N_bin, builtin_bin),
    native(N_callable, builtin_callable),
    native(N_chr, builtin_chr),
    native(N_divmod, builtin_divmod),
    native(N_format, builtin_format),
    native(N_getattr, builtin_getattr),
    native(N_hasattr, builtin_hasattr),
    native(N_hash, builtin_hash),
    native(N_hex, builtin_hex),
    native(N_isinstance, builtin_isinstance),
    native(N_issubclass, builtin_issubclass),
    native(N_iter, builtin_iter),
    native(N_len, builtin_len),
    native(N_max, builtin_max),
    native(N_min, builtin_min),
    native(N_next, builtin_next),
    native(N_oct, builtin_oct),
    native(N_ord, builtin_ord),
    native(N_pow, builtin_pow),
    native(N_print, builtin_print),
    native(N_repr, builtin_repr),
    native(N_round, builtin_round),
    native(N_sorted, builtin_sorted),
    native(N_sum, builtin_sum),
    native(N_aiter, unsupported_builtin),
    native(N_anext, unsupported_builtin),
    native(N_delattr, unsupported_builtin),
    native(N_dir, unsupported_builtin),
    native(N_globals, unsupported_builtin),
    native(N_id, unsupported_builtin),
    native(N_locals, unsupported_builtin),
    native(N_setattr, unsupported_builtin),
    native(N_vars, unsupported_builtin),
    native(N_breakpoint, denied_builtin),
    native(N_compile, denied_builtin),
    native(N_eval, denied_builtin),
    native(N_exec, denied_builtin),
    native(N_exit, denied_builtin),
    native(N_help, denied_builtin),
    native(N_input, denied_builtin),
    native(N_open, denied_builtin),
    native(N_quit, denied_builtin),
    native(N___import__, denied_builtin),
};

constexpr Foreign kSiteNames = {{Kind::kForeign}, "copyright, credits, license"};

struct NamedType {
  Symbol name;
  TypeId id;
};

constexpr NamedType kTypeNames[] = {
    {N_bool, TypeId::kBool},
    {N_bytearray, TypeId::kBytearray},
    {N_bytes, TypeId::kBytes},
    {N_classmethod, TypeId::kClassmethod},
    {N_complex, TypeId::kComplex},
    {N_dict, TypeId::kDict},
    {N_enumerate, TypeId::kEnumerate},
    {N_filter, TypeId::kFilter},
    {N_float, TypeId::kFloat},
    {N_frozenset, TypeId::kFrozenset},
    {N_int, TypeId::kInt},
    {N_list, TypeId::kList},
    {N_map, TypeId::kMap},
    {N_memoryview, TypeId::kMemoryview},
    {N_object, TypeId::kObject},
    {N_property, TypeId::kProperty},
    {N_range, TypeId::kRange},
    {N_reversed, TypeId::kReversed},
    {N_set, TypeId::kSet},
    {N_slice, TypeId::kSlice},
    {N_staticmethod, TypeId::kStaticmethod},
    {N_str, TypeId::kStr},
    {N_super, TypeId::kSuper},
    {N_tuple, TypeId::kTuple},
    {N_type, TypeId::kType},
    {N_zip, TypeId::kZip},
};

struct NamedException {
  Symbol name;
  Exc exc;
};

constexpr Symbol N_Other = kNameCount;  // no name of a program

constexpr NamedException kExceptionNames[] = {
#define EXC(name, parent) {N_##name, Exc::k##name},
#include "base/exceptions.inc"
#undef EXC
    {N_EnvironmentError, Exc::kOSError},
    {N_IOError, Exc::kOSError},
};

enum class Sort : std::uint8_t { kNone, kFunction, kType, kException };

// What each name is, and its number in the table of its sort.
struct Names {
  struct Entry {
    Sort sort = Sort::kNone;
    std::uint8_t number = 0;
  };
  std::array<Entry, kNameCount + 1> entries{};

  constexpr Names() {
    std::uint8_t number = 0;
    for (const Native& function : kFunctions) entries[function.name] = {Sort::kFunction, number++};
    for (NamedType type : kTypeNames) {
      entries[type.name] = {Sort::kType, static_cast<std::uint8_t>(type.id)};
    }
    for (NamedException named : kExceptionNames) {
      entries[named.name] = {Sort::kException, static_cast<std::uint8_t>(named.exc)};
    }
    entries[kNameCount] = {};
  }
};

constexpr Names kNames;

// ---- attributes

// Exceptions with attributes of their own, which are not kept here.
bool is_detailed(Exc type) {
  for (Exc detailed : {Exc::kOSError, Exc::kImportError, Exc::kNameError, Exc::kAttributeError,
                       Exc::kSyntaxError, Exc::kUnicodeError, Exc::kBaseExceptionGroup}) {
    if (is_subtype(type, detailed)) return true;
  }
  return false;
}

Value exception_attribute(const Exception& exception, Symbol name) {
  const Tuple& args = *exception.args;
  Exc type = exception.type;
  if (name == N_args) return static_value(args);
  if (name == N_add_note || name == N_with_traceback) return Value::unbound();
  if (name == N_value && type == Exc::kStopIteration) {
    return args.size == 0 ? Value::none() : args.items[0];
  }
  if (name == N_code && type == Exc::kSystemExit) {
    return args.size == 0 ? Value::none() : args.size == 1 ? args.items[0] : static_value(args);
  }
  if (is_detailed(type)) unsupported("details of an exception");
  return Value::unbound();
}

Value int_attribute(Value self, Symbol name) {
  if (name == N_real || name == N_numerator) {
    return self.is(Kind::kBool) ? Value::integer(self.i) : self;
  }
  if (name == N_imag) return Value::integer(0);
  if (name == N_denominator) return Value::integer(1);
  return Value::unbound();
}

// Attributes that a type has for its objects, as ValueError.args.
bool is_data_attribute(const Type& type, Symbol name) {
  switch (type.id) {
    case TypeId::kBool:
    case TypeId::kInt:
      return name == N_real || name == N_imag || name == N_numerator || name == N_denominator;
    case TypeId::kFloat: return name == N_real || name == N_imag;
    case TypeId::kRange:
    case TypeId::kSlice: return name == N_start || name == N_stop || name == N_step;
    case TypeId::kException:
      return name == N_args || is_detailed(type.exc) ||
             (name == N_value && type.exc == Exc::kStopIteration) ||
             (name == N_code && type.exc == Exc::kSystemExit);
    default: return false;
  }
}

constexpr Native kUnsupportedMethod = native(N_type, unsupported_method);

}  // namespace

Value builtin(Symbol name) {
  if (name >= kNameCount) return Value::unbound();
  Names::Entry entry = kNames.entries[name];
  switch (entry.sort) {
    case Sort::kFunction: return static_value(kFunctions[entry.number]);
    case Sort::kType: return static_value(*type_object(static_cast<TypeId>(entry.number)));
    case Sort::kException: return static_value(*exception_type(static_cast<Exc>(entry.number)));
    case Sort::kNone: break;
  }
  if (name == N_Ellipsis) return Value::of_kind(Kind::kEllipsis);
  if (name == N_NotImplemented) return Value::of_kind(Kind::kNotImplemented);
  if (name == N_copyright || name == N_credits || name == N_license) {
    return static_value(kSiteNames);
  }
  return Value::unbound();
}

const Native* find_method(Value self, Symbol name) {
  switch (self.kind) {
    case Kind::kStr: return str_method(name);
    case Kind::kList: return list_method(name);
    case Kind::kDict: return dict_method(name);
    case Kind::kSet: return set_method(name, self.as<Set>()->frozen);
    case Kind::kTuple: return tuple_method(name);
    case Kind::kRange: return range_method(name);
    case Kind::kDictView: return dict_view_method(name, self.as<DictView>()->view);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBig: return int_method(name);
    case Kind::kFloat: return float_method(name);
    case Kind::kSlice: return slice_method(name);
    case Kind::kGenerator: return generator_method(name);
    case Kind::kException: return exception_method(name);
    case Kind::kType: return find_type_method(*self.as<Type>(), name);
    default: return nullptr;
  }
}

Value data_attribute(Vm& vm, Value self, Symbol name) {
  switch (self.kind) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBig: return int_attribute(self, name);
    case Kind::kFloat:
      if (name == N_real) return self;
      return name == N_imag ? Value::real(0) : Value::unbound();
    case Kind::kRange: {
      const Range& range = *self.as<Range>();
      if (name == N_start) return Value::integer(range.start);
      if (name == N_stop) return Value::integer(range.stop);
      return name == N_step ? Value::integer(range.step) : Value::unbound();
    }
    case Kind::kSlice: {
      const Slice& slice = *self.as<Slice>();
      if (name == N_start) return slice.start;
      if (name == N_stop) return slice.stop;
      return name == N_step ? slice.step : Value::unbound();
    }
    case Kind::kException: return exception_attribute(*self.as<Exception>(), name);
    case Kind::kDictView:
      if (name == N_mapping) unsupported("the mapping of a dict view");
      return Value::unbound();
    case Kind::kGenerator:
      if (vm.symbol_text(name).substr(0, 3) == "gi_") unsupported("the state of a generator");
      return Value::unbound();
    default: return Value::unbound();
  }
}

const Native* find_type_method(const Type& type, Symbol name) {
  if (name == N_mro || is_data_attribute(type, name)) return &kUnsupportedMethod;
  switch (type.id) {
    case TypeId::kStr: return str_method(name);
    case TypeId::kList: return list_method(name);
    case TypeId::kTuple: return tuple_method(name);
    case TypeId::kDict: {
      const Native* of_type = dict_type_method(name);
      return of_type != nullptr ? of_type : dict_method(name);
    }
    case TypeId::kSet:
    case TypeId::kFrozenset: return set_method(name, type.id == TypeId::kFrozenset);
    case TypeId::kRange: return range_method(name);
    case TypeId::kBool:
    case TypeId::kInt: return int_method(name);
    case TypeId::kFloat: return float_method(name);
    case TypeId::kSlice: return slice_method(name);
    case TypeId::kGenerator: return generator_method(name);
    case TypeId::kException: return exception_method(name);
    case TypeId::kObject:
    case TypeId::kEnumerate:
    case TypeId::kZip:
    case TypeId::kMap:
    case TypeId::kFilter:
    case TypeId::kReversed: return nullptr;
    default: return &kUnsupportedMethod;
  }
}

}  // namespace reft
