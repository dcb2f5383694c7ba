// ==, <, `is` and `in` of any two values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "numbers/integer.hpp"
#include "operators/collection_operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr const char* kTexts[] = {"<", "<=", "==", "!=", ">", ">="};

bool is_equality(Compare op) { return op == Compare::kEq || op == Compare::kNe; }

// The operator that says the same of the operands swapped.
Compare reflected(Compare op) {
  switch (op) {
    case Compare::kLt: return Compare::kGt;
    case Compare::kLe: return Compare::kGe;
    case Compare::kGt: return Compare::kLt;
    case Compare::kGe: return Compare::kLe;
    default: return op;
  }
}

bool compare_numbers(Vm& vm, Compare op, Value a, Value b) {
  if (a.is(Kind::kBig)) charge_int(vm, a);
  if (b.is(Kind::kBig)) charge_int(vm, b);
  if (a.is(Kind::kFloat)) {
    if (b.is(Kind::kFloat)) return holds(op, a.f, b.f);
    if (std::isnan(a.f)) return op == Compare::kNe;
    return holds(reflected(op), int_compare_float(b, a.f), 0);
  }
  if (b.is(Kind::kFloat)) {
    if (std::isnan(b.f)) return op == Compare::kNe;
    return holds(op, int_compare_float(a, b.f), 0);
  }
  return holds(op, int_compare(a, b), 0);
}

bool compare_texts(Vm& vm, Compare op, const Str& a, const Str& b) {
  if (is_equality(op) && a.bytes != b.bytes) return op == Compare::kNe;
  std::uint32_t common = std::min(a.bytes, b.bytes);
  vm.charge(common / 64);
  // UTF-8 is in the order of code points.
  int order = common == 0 ? 0 : std::memcmp(a.data, b.data, common);
  return order != 0 ? holds(op, order, 0) : holds(op, a.bytes, b.bytes);
}

// The items of a list or tuple.
struct Items {
  const Value* at;
  std::uint32_t size;

  explicit Items(Value a)
      : at(a.is(Kind::kList) ? a.as<List>()->items : a.as<Tuple>()->items),
        size(a.is(Kind::kList) ? a.as<List>()->size : a.as<Tuple>()->size) {}
};

// The first items that differ decide, or the sizes. (No user code runs: nothing changes meanwhile.)
bool compare_sequences(Vm& vm, Compare op, Value a, Value b) {
  Items x(a), y(b);
  if (a.is(Kind::kList) && is_equality(op) && x.size != y.size) return op == Compare::kNe;
  Depth depth(vm);
  std::uint32_t common = std::min(x.size, y.size);
  for (std::uint32_t i = 0; i < common; ++i) {
    vm.step();
    if (identical_or_equal(vm, x.at[i], y.at[i])) continue;
    if (is_equality(op)) return op == Compare::kNe;
    return compare(vm, op, x.at[i], y.at[i]);
  }
  return holds(op, x.size, y.size);
}

bool equal_dicts(Vm& vm, Dict& a, Dict& b) {
  if (a.size != b.size) return false;
  vm.charge(a.used / 16);  // gaps
  Depth depth(vm);
  std::uint32_t position = 0;
  for (DictEntry* entry; dict_next(a, position, entry);) {
    vm.step();
    Value other = dict_get_hashed(vm, b, entry->key, entry->hash);
    if (other.is_unbound() || !identical_or_equal(vm, entry->value, other)) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size != b.size) return false;
  if (a.size == 0) return true;
  return a.start == b.start && (a.size == 1 || a.step == b.step);
}

bool equal_slices(Vm& vm, const Slice& a, const Slice& b) {
  Depth depth(vm);
  return identical_or_equal(vm, a.start, b.start) && identical_or_equal(vm, a.stop, b.stop) &&
         identical_or_equal(vm, a.step, b.step);
}

bool is_subset(Vm& vm, Value a, Value b) {
  if (a.is(Kind::kSet) && b.is(Kind::kSet)) return set_is_subset(vm, *a.as<Set>(), *b.as<Set>());
  bool all = true;
  for_each(vm, a, [&](Value item) { return all = contains(vm, b, item); });
  return all;
}

// Sets and dict views: `<` is "is a proper subset of".
bool compare_sets(Vm& vm, Compare op, Value a, Value b) {
  if (is_set_view(b) && !is_set_view(a)) return compare_sets(vm, reflected(op), b, a);
  Depth depth(vm);
  std::int64_t x = length(vm, a), y = length(vm, b);
  switch (op) {
    case Compare::kEq: return x == y && is_subset(vm, a, b);
    case Compare::kNe: return x != y || !is_subset(vm, a, b);
    case Compare::kLt: return x < y && is_subset(vm, a, b);
    case Compare::kLe: return x <= y && is_subset(vm, a, b);
    case Compare::kGt: return x > y && is_subset(vm, b, a);
    case Compare::kGe: return x >= y && is_subset(vm, b, a);
  }
  return false;
}

bool equal_of_kind(Vm& vm, Value a, Value b) {
  switch (a.kind) {
    case Kind::kList:
    case Kind::kTuple: return compare_sequences(vm, Compare::kEq, a, b);
    case Kind::kDict: return equal_dicts(vm, *a.as<Dict>(), *b.as<Dict>());
    case Kind::kRange: return equal_ranges(*a.as<Range>(), *b.as<Range>());
    case Kind::kSlice: return equal_slices(vm, *a.as<Slice>(), *b.as<Slice>());
    case Kind::kMethod:
      return a.as<Method>()->native == b.as<Method>()->native &&
             identical(a.as<Method>()->self, b.as<Method>()->self);
    default: return same(a, b);
  }
}

bool in_text(Vm& vm, const Str& text, Value item) {
  if (!item.is(Kind::kStr)) {
    vm.raise_type("'in <string>' requires string as left operand, not %.100s", type_name(item));
  }
  return find_first(vm, text.view(), item.as<Str>()->view()) != nullptr;
}

bool in_range(const Range& range, Value item) {
  constexpr double kLimit = 9223372036854775808.0;
  std::int64_t number;
  if (item.is_small_int()) {
    number = item.i;
  } else if (item.is(Kind::kFloat) && item.f >= -kLimit && item.f < kLimit &&
             item.f == std::floor(item.f)) {
    number = static_cast<std::int64_t>(item.f);
  } else {
    return false;
  }
  bool up = range.step > 0;
  std::int64_t low = up ? range.start : range.stop, high = up ? range.stop : range.start;
  if (up ? number < low || number >= high : number <= low || number > high) return false;
  auto distance = static_cast<std::uint64_t>(number) - static_cast<std::uint64_t>(range.start);
  auto step = static_cast<std::uint64_t>(range.step);
  return up ? distance % step == 0 : (0 - distance) % (0 - step) == 0;
}

bool in_view(Vm& vm, const DictView& view, Value item) {
  if (view.view == View::kKeys) return !dict_get(vm, *view.dict, item).is_unbound();
  if (view.view == View::kItems) {
    if (!item.is(Kind::kTuple) || item.as<Tuple>()->size != 2) return false;
    Value value = dict_get(vm, *view.dict, item.as<Tuple>()->items[0]);
    return !value.is_unbound() && identical_or_equal(vm, value, item.as<Tuple>()->items[1]);
  }
  vm.charge(view.dict->used / 16);
  std::uint32_t position = 0;
  for (DictEntry* entry; dict_next(*view.dict, position, entry);) {
    vm.step();
    if (identical_or_equal(vm, entry->value, item)) return true;
  }
  return false;
}

// CPython finds a set in a set as if it were a frozenset.
bool in_set(Vm& vm, Set& set, Value item) {
  if (item.is(Kind::kSet) && !item.as<Set>()->frozen) {
    item = Value::object(set_copy(vm, *item.as<Set>(), true));
  }
  return set_contains(vm, set, item);
}

bool in_items(Vm& vm, Items items, Value item) {
  for (std::uint32_t i = 0; i < items.size; ++i) {
    vm.step();
    if (identical_or_equal(vm, items.at[i], item)) return true;
  }
  return false;
}

}  // namespace

bool equal_objects(Vm& vm, Value a, Value b) {
  if (a.is(Kind::kStr) && b.is(Kind::kStr)) {
    return a.o == b.o || compare_texts(vm, Compare::kEq, *a.as<Str>(), *b.as<Str>());
  }
  if (a.is_number() && b.is_number()) return compare_numbers(vm, Compare::kEq, a, b);
  if (a.is(Kind::kForeign) || b.is(Kind::kForeign)) unsupported("comparing a foreign value");
  if (same(a, b)) return true;
  if (is_set_like(a) && is_set_like(b)) return compare_sets(vm, Compare::kEq, a, b);
  return a.kind == b.kind && equal_of_kind(vm, a, b);
}

bool identical_or_equal(Vm& vm, Value a, Value b) {
  if (a.is_object() && same(a, b)) return true;
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat) && std::isnan(a.f) && std::isnan(b.f)) {
    unsupported("the identity of a nan");
  }
  return equal(vm, a, b);
}

bool identical(Value a, Value b) {
  if (a.kind != b.kind) return false;
  if (same(a, b) && a.kind != Kind::kInt && a.kind != Kind::kFloat) return true;
  switch (a.kind) {
    case Kind::kInt:
      if (a.i != b.i) return false;
      if (a.i >= -5 && a.i <= 256) return true;
      break;
    case Kind::kFloat:
      if (std::memcmp(&a.f, &b.f, sizeof a.f) != 0) return false;
      break;
    case Kind::kBig:
      if (int_compare(a, b) != 0) return false;
      break;
    case Kind::kStr:
      if (a.as<Str>()->view() != b.as<Str>()->view()) return false;
      if (a.as<Str>()->bytes <= 1) return true;
      break;
    case Kind::kTuple:
      if (a.as<Tuple>()->size != b.as<Tuple>()->size) return false;
      if (a.as<Tuple>()->size == 0) return true;
      break;
    default: return false;
  }
  unsupported("the identity of equal values");
}

bool compare_objects(Vm& vm, Compare op, Value a, Value b) {
  if (is_equality(op)) return equal(vm, a, b) == (op == Compare::kEq);
  if (a.is_number() && b.is_number()) return compare_numbers(vm, op, a, b);
  if (a.is(Kind::kForeign) || b.is(Kind::kForeign)) unsupported("comparing a foreign value");
  if (a.kind == b.kind) {
    if (a.is(Kind::kStr)) return compare_texts(vm, op, *a.as<Str>(), *b.as<Str>());
    if (a.is(Kind::kList) || a.is(Kind::kTuple)) return compare_sequences(vm, op, a, b);
    if (a.is(Kind::kSlice)) unsupported("the order of slices");
  }
  if (is_set_like(a) && is_set_like(b)) return compare_sets(vm, op, a, b);
  vm.raise_type("'%s' not supported between instances of '%.100s' and '%.100s'",
                kTexts[static_cast<int>(op)], type_name(a), type_name(b));
}

bool contains(Vm& vm, Value container, Value item) {
  switch (container.kind) {
    case Kind::kStr: return in_text(vm, *container.as<Str>(), item);
    case Kind::kList:
    case Kind::kTuple: return in_items(vm, Items(container), item);
    case Kind::kDict: return !dict_get(vm, *container.as<Dict>(), item).is_unbound();
    case Kind::kSet: return in_set(vm, *container.as<Set>(), item);
    case Kind::kRange:
      if (item.is(Kind::kForeign)) unsupported("comparing a foreign value");
      return in_range(*container.as<Range>(), item);
    case Kind::kDictView: return in_view(vm, *container.as<DictView>(), item);
    case Kind::kIterator:
    case Kind::kGenerator: {
      bool found = false;
      for_each(vm, container, [&](Value other) {
        found = identical_or_equal(vm, other, item);
        return !found;
      });
      return found;
    }
    case Kind::kForeign: unsupported("looking into a foreign value");
    default: vm.raise_type("argument of type '%.200s' is not iterable", type_name(container));
  }
}

}  // namespace reft
