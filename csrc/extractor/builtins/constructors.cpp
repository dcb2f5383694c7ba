// Calling a type: int("3"), list(x), range(5), ValueError("...").
#include "builtins/builtin_functions.hpp"
#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "containers/iterators.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

// ---- numbers and texts

Value construct_int(Vm& vm, const Args& args) {
  expect_at_most(vm, args, "int", 2);
  expect_keywords(vm, args, "int", {N_base});
  const Value* base = args.count == 2 ? &args.at[1] : args.keyword(N_base);
  if (args.count == 0) {
    if (base != nullptr) vm.raise_type("int() missing string argument");
    return Value::integer(0);
  }
  Value value = args[0];
  require_known(value);
  if (base != nullptr) {
    std::int64_t radix = clamped_index(vm, *base);
    if (radix != 0 && (radix < 2 || radix > 36)) {
      vm.raise(Exc::kValueError, "int() base must be >= 2 and <= 36, or 0");
    }
    if (!value.is(Kind::kStr)) {
      vm.raise_type("int() can't convert non-string with explicit base");
    }
    return int_from_text(vm, *value.as<Str>(), static_cast<int>(radix));
  }
  if (value.is(Kind::kFloat)) return int_from_double(vm, value.f);
  if (value.is_small_int()) return Value::integer(value.i);
  if (value.is(Kind::kBig)) return value;
  if (value.is(Kind::kStr)) return int_from_text(vm, *value.as<Str>(), 10);
  vm.raise_type("int() argument must be a string, a bytes-like object or a real number, not '%s'",
                type_name(value));
}

Value construct_float(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "float");
  expect_count(vm, args, "float", 0, 1);
  if (args.count == 0) return Value::real(0);
  Value value = args[0];
  if (value.is(Kind::kFloat)) return value;
  if (value.is_int()) return Value::real(int_to_double(vm, value));
  require_known(value);
  if (!value.is(Kind::kStr)) {
    vm.raise_type("float() argument must be a string or a real number, not '%s'", type_name(value));
  }
  const Str& text = *value.as<Str>();
  vm.charge(text.bytes / 16);
  double result;
  if (parse_float(text.view(), result)) return Value::real(result);
  const Str& shown = *repr(vm, value).as<Str>();
  vm.raise(Exc::kValueError, "could not convert string to float: %.*s",
           static_cast<int>(shown.bytes < 2000 ? shown.bytes : 2000), shown.data);
}

Value construct_str(Vm& vm, const Args& args) {
  if (args.count == 1 && args.keyword_count == 0) return str(vm, args[0]);
  Value given[3];
  bind_arguments(vm, args, "str", {N_object, N_encoding, N_errors}, 0, given);
  if (!given[1].is_unbound() || !given[2].is_unbound()) unsupported("decoding bytes");
  return given[0].is_unbound() ? borrow_str(vm, "") : str(vm, given[0]);
}

Value construct_bool(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "bool");
  expect_count(vm, args, "bool", 0, 1);
  return Value::boolean(args.count == 1 && truth(vm, args[0]));
}

// ---- containers

// The iterable a container is made of; unbound: none.
Value contents(Vm& vm, const Args& args, const char* name) {
  expect_no_keywords(vm, args, name);
  expect_count(vm, args, name, 0, 1);
  return args.count == 0 ? Value::unbound() : args[0];
}

Value construct_list(Vm& vm, const Args& args) {
  Value items = contents(vm, args, "list");
  return Value::object(items.is_unbound() ? make_list(vm) : collect(vm, items));
}

Value construct_tuple(Vm& vm, const Args& args) {
  Value items = contents(vm, args, "tuple");
  return Value::object(items.is_unbound() ? make_tuple(vm, nullptr, 0) : collect_tuple(vm, items));
}

Value construct_set(Vm& vm, const Args& args, bool frozen) {
  Value items = contents(vm, args, frozen ? "frozenset" : "set");
  if (frozen && items.is(Kind::kSet) && items.as<Set>()->frozen) return items;
  Set* set = make_set(vm, frozen);
  if (!items.is_unbound()) set_update(vm, *set, items);
  return Value::object(set);
}

Value construct_dict(Vm& vm, const Args& args) {
  expect_count(vm, args, "dict", 0, 1);
  Dict* dict = make_dict(vm);
  if (args.count == 1) dict_update(vm, *dict, args[0]);
  vm.charge(args.keyword_count);
  for (std::uint32_t i = 0; i < args.keyword_count; ++i) {
    Value key = borrow_str(vm, vm.symbol_text(args.keywords[i].name));
    dict_set(vm, *dict, key, args.keywords[i].value);
  }
  return Value::object(dict);
}

// ---- ranges, slices, iterators

std::int64_t range_bound(Vm& vm, Value value) {
  if (value.is(Kind::kBig)) unsupported("a range beyond 64 bits");
  return index_argument(vm, value);
}

std::int64_t range_size(std::int64_t start, std::int64_t stop, std::int64_t step) {
  auto low = static_cast<std::uint64_t>(step > 0 ? start : stop);
  auto high = static_cast<std::uint64_t>(step > 0 ? stop : start);
  if (static_cast<std::int64_t>(low) >= static_cast<std::int64_t>(high)) return 0;
  auto stride = static_cast<std::uint64_t>(step);
  if (step < 0) stride = -stride;
  std::uint64_t size = (high - low - 1) / stride + 1;
  if (size > INT64_MAX) unsupported("a range of more than 2**63 items");
  return static_cast<std::int64_t>(size);
}

Value construct_range(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "range");
  expect_count(vm, args, "range", 1, 3);
  std::int64_t bounds[3] = {0, 0, 1};
  for (std::uint32_t i = 0; i < args.count; ++i) {
    bounds[args.count == 1 ? 1 : i] = range_bound(vm, args[i]);
  }
  if (bounds[2] == 0) vm.raise(Exc::kValueError, "range() arg 3 must not be zero");
  std::int64_t size = range_size(bounds[0], bounds[1], bounds[2]);
  auto* range = vm.make<Range>(Kind::kRange);
  range->start = bounds[0];
  range->stop = bounds[1];
  range->step = bounds[2];
  range->size = size;
  return Value::object(range);
}

Value construct_slice(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "slice");
  expect_count(vm, args, "slice", 1, 3);
  auto* slice = vm.make<Slice>(Kind::kSlice);
  slice->start = args.count == 1 ? Value::none() : args[0];
  slice->stop = args.count == 1 ? args[0] : args[1];
  slice->step = args.count == 3 ? args[2] : Value::none();
  return Value::object(slice);
}

Value construct_enumerate(Vm& vm, const Args& args) {
  const std::uint32_t count = args.count + args.keyword_count;
  // The messages are its own.
  if (args.count == 0 && (count == 0 || count > 2)) {
    vm.raise_type("enumerate() missing required argument 'iterable'");
  }
  if (count > 2) vm.raise_type("enumerate() takes at most 2 arguments (%u given)", count);
  if (args.count == 0 && count == 1) expect_keywords(vm, args, "enumerate", {N_iterable});
  if (args.count == 0) expect_keywords(vm, args, "enumerate", {N_iterable, N_start});
  if (args.count == 1) expect_keywords(vm, args, "enumerate", {N_start});
  Value given[2];
  bind_arguments(vm, args, "enumerate", {N_iterable, N_start}, 1, given);
  if (given[1].is_unbound()) given[1] = Value::integer(0);
  if (!given[1].is_int()) index_argument(vm, given[1]);  // raises
  return make_enumerate(vm, given[0], given[1]);
}

Value construct_filter(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "filter");
  expect_count(vm, args, "filter", 2, 2);
  return make_filter(vm, args[0], args[1]);
}

Value construct_map(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "map");
  if (args.count < 2) vm.raise_type("map() must have at least two arguments.");
  return make_map(vm, args[0], args.at + 1, args.count - 1);
}

Value construct_reversed(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "reversed");
  expect_one(vm, args, "reversed");
  return make_reversed(vm, args[0]);
}

Value construct_zip(Vm& vm, const Args& args) {
  expect_at_most(vm, Args{nullptr, 0, args.keywords, args.keyword_count}, "zip", 1);
  expect_keywords(vm, args, "zip", {N_strict});
  const Value* strict = args.keyword(N_strict);
  return make_zip(vm, args.at, args.count, strict != nullptr && truth(vm, *strict));
}

// type(x)
Value construct_type(Vm& vm, const Args& args) {
  if (args.count == 3 || args.keyword_count != 0) unsupported("making a class");
  if (args.count != 1) vm.raise_type("type() takes 1 or 3 arguments");
  require_known(args[0]);
  if (!args[0].is(Kind::kIterator)) return static_value(*type_of(args[0]));
  TypeId id = iterator_type(*args[0].as<Iterator>());
  if (id == TypeId::kIterator) unsupported("the type of an iterator");
  return static_value(*type_object(id));
}

// Exceptions whose constructors look into their arguments.
void check_exception(Vm& vm, Exc exc, const Args& args) {
  if (is_subtype(exc, Exc::kBaseExceptionGroup)) unsupported("exception groups");
  if (exc == Exc::kUnicodeDecodeError || exc == Exc::kUnicodeEncodeError ||
      exc == Exc::kUnicodeTranslateError) {
    unsupported("an exception of encodings");
  }
  if (args.count >= 2 && (is_subtype(exc, Exc::kOSError) || is_subtype(exc, Exc::kSyntaxError))) {
    unsupported("an exception with details");
  }
  if (args.keyword_count == 0) return;
  if (is_subtype(exc, Exc::kImportError) || is_subtype(exc, Exc::kNameError) ||
      is_subtype(exc, Exc::kAttributeError)) {
    unsupported("an exception with details");
  }
  vm.raise_type("%s() takes no keyword arguments", exception_name(exc));
}

Value construct_exception(Vm& vm, Exc exc, const Args& args) {
  check_exception(vm, exc, args);
  auto* exception = vm.make<Exception>(Kind::kException);
  exception->type = exc;
  exception->args = make_tuple(vm, args.at, args.count);
  exception->cause = Value::unbound();
  return Value::object(exception);
}

}  // namespace

Value construct(Vm& vm, const Type& type, const Args& args) {
  switch (type.id) {
    case TypeId::kInt: return construct_int(vm, args);
    case TypeId::kFloat: return construct_float(vm, args);
    case TypeId::kStr: return construct_str(vm, args);
    case TypeId::kBool: return construct_bool(vm, args);
    case TypeId::kList: return construct_list(vm, args);
    case TypeId::kTuple: return construct_tuple(vm, args);
    case TypeId::kDict: return construct_dict(vm, args);
    case TypeId::kSet: return construct_set(vm, args, false);
    case TypeId::kFrozenset: return construct_set(vm, args, true);
    case TypeId::kRange: return construct_range(vm, args);
    case TypeId::kSlice: return construct_slice(vm, args);
    case TypeId::kEnumerate: return construct_enumerate(vm, args);
    case TypeId::kFilter: return construct_filter(vm, args);
    case TypeId::kMap: return construct_map(vm, args);
    case TypeId::kReversed: return construct_reversed(vm, args);
    case TypeId::kZip: return construct_zip(vm, args);
    case TypeId::kType: return construct_type(vm, args);
    case TypeId::kException: return construct_exception(vm, type.exc, args);
    default: unsupported("making an object of this type");
  }
}

}  // namespace reft
