// Methods of sets and frozensets.
#include "containers/container_methods.hpp"
#include "containers/iterate.hpp"
#include "containers/native_method.hpp"
#include "containers/set_table.hpp"

namespace reft {
namespace {

Set& self(const Args& args) { return *args[0].as<Set>(); }

Value add(Vm& vm, const Args& args) {
  set_add(vm, self(args), args[1]);
  return Value::none();
}

Value clear(Vm&, const Args& args) {
  set_clear(self(args));
  return Value::none();
}

Value copy(Vm& vm, const Args& args) {
  if (self(args).frozen) return args[0];
  return Value::object(set_copy(vm, self(args), false));
}

Value discard(Vm& vm, const Args& args) {
  set_discard(vm, self(args), args[1]);
  return Value::none();
}

Value remove(Vm& vm, const Args& args) {
  if (!set_discard(vm, self(args), args[1])) vm.raise_with(Exc::kKeyError, args[1]);
  return Value::none();
}

Value pop(Vm& vm, const Args& args) {
  Value item = set_pop(vm, self(args));
  if (item.is_unbound()) vm.raise(Exc::kKeyError, "pop from an empty set");
  return item;
}

// ---- of any number of iterables

Set* copy_of(Vm& vm, const Set& set) { return set_copy(vm, set, set.frozen); }

Value set_or(Vm& vm, const Args& args) {
  Set* result = copy_of(vm, self(args));
  for (std::uint32_t i = 1; i < args.count; ++i) {
    if (args[i].o != args[0].o || !args[i].is(Kind::kSet)) set_update(vm, *result, args[i]);
  }
  return Value::object(result);
}

Value update(Vm& vm, const Args& args) {
  for (std::uint32_t i = 1; i < args.count; ++i) set_update(vm, self(args), args[i]);
  return Value::none();
}

Value intersection(Vm& vm, const Args& args) {
  if (args.count == 1) return Value::object(copy_of(vm, self(args)));
  Set* result = &self(args);
  for (std::uint32_t i = 1; i < args.count; ++i) result = set_intersection(vm, *result, args[i]);
  return Value::object(result);
}

Value intersection_update(Vm& vm, const Args& args) {
  // Nothing changes before all arguments have been read; without any the table is made anew too.
  set_take(self(args), *intersection(vm, args).as<Set>());
  return Value::none();
}

Value difference(Vm& vm, const Args& args) {
  if (args.count == 1) return Value::object(copy_of(vm, self(args)));
  Set* result = set_difference(vm, self(args), args[1]);
  for (std::uint32_t i = 2; i < args.count; ++i) set_difference_update(vm, *result, args[i]);
  return Value::object(result);
}

Value difference_update(Vm& vm, const Args& args) {
  for (std::uint32_t i = 1; i < args.count; ++i) set_difference_update(vm, self(args), args[i]);
  return Value::none();
}

// ---- of one iterable

Value symmetric_difference(Vm& vm, const Args& args) {
  return Value::object(set_symmetric_difference(vm, self(args), args[1]));
}

Value symmetric_difference_update(Vm& vm, const Args& args) {
  set_symmetric_difference_update(vm, self(args), args[1]);
  return Value::none();
}

Value isdisjoint(Vm& vm, const Args& args) {
  return Value::boolean(set_is_disjoint(vm, self(args), args[1]));
}

Set& set_argument(Vm& vm, Value iterable) {
  if (iterable.is(Kind::kSet)) return *iterable.as<Set>();
  Set* set = make_set(vm);
  set_update(vm, *set, iterable);
  return *set;
}

Value issubset(Vm& vm, const Args& args) {
  return Value::boolean(set_is_subset(vm, self(args), set_argument(vm, args[1])));
}

Value issuperset(Vm& vm, const Args& args) {
  if (args[1].is(Kind::kSet)) {
    return Value::boolean(set_is_subset(vm, *args[1].as<Set>(), self(args)));
  }
  bool all = true;
  for_each(vm, args[1], [&](Value item) { return all = set_contains(vm, self(args), item); });
  return Value::boolean(all);
}

template <Receiver receiver>
const Native* common_method(Symbol name) {
  switch (name) {
    case N_copy: return &kMethod<receiver, N_copy, copy, 0>;
    case N_difference: return &kMethod<receiver, N_difference, difference, 0, kAnyCount>;
    case N_intersection: return &kMethod<receiver, N_intersection, intersection, 0, kAnyCount>;
    case N_isdisjoint: return &kMethod<receiver, N_isdisjoint, isdisjoint, 1>;
    case N_issubset: return &kMethod<receiver, N_issubset, issubset, 1>;
    case N_issuperset: return &kMethod<receiver, N_issuperset, issuperset, 1>;
    case N_symmetric_difference:
      return &kMethod<receiver, N_symmetric_difference, symmetric_difference, 1>;
    case N_union: return &kMethod<receiver, N_union, set_or, 0, kAnyCount>;
    default: return nullptr;
  }
}

}  // namespace

const Native* set_method(Symbol name, bool frozen) {
  if (frozen) return common_method<Receiver::kFrozenset>(name);
  constexpr Receiver kSelf = Receiver::kSet;
  switch (name) {
    case N_add: return &kMethod<kSelf, N_add, add, 1>;
    case N_clear: return &kMethod<kSelf, N_clear, clear, 0>;
    case N_difference_update:
      return &kMethod<kSelf, N_difference_update, difference_update, 0, kAnyCount>;
    case N_discard: return &kMethod<kSelf, N_discard, discard, 1>;
    case N_intersection_update:
      return &kMethod<kSelf, N_intersection_update, intersection_update, 0, kAnyCount>;
    case N_pop: return &kMethod<kSelf, N_pop, pop, 0>;
    case N_remove: return &kMethod<kSelf, N_remove, remove, 1>;
    case N_symmetric_difference_update:
      return &kMethod<kSelf, N_symmetric_difference_update, symmetric_difference_update, 1>;
    case N_update: return &kMethod<kSelf, N_update, update, 0, kAnyCount>;
    default: return common_method<Receiver::kSet>(name);
  }
}

}  // namespace reft
