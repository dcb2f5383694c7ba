// - & | ^ of sets and dict views, | of dicts.
#include <utility>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "operators/collection_operators.hpp"

namespace reft {
namespace {

Value combine_two_sets(Vm& vm, Binary op, Set& a, Set& b) {
  switch (op) {
    case Binary::kSub: return Value::object(set_difference(vm, a, b));
    case Binary::kAnd: return Value::object(set_intersection(vm, a, b));
    case Binary::kOr: return Value::object(set_union(vm, a, b));
    default: return Value::object(set_symmetric_difference(vm, a, b));
  }
}

void update_set(Vm& vm, Binary op, Set& a, Value b) {
  switch (op) {
    case Binary::kSub: return set_difference_update(vm, a, b);
    case Binary::kAnd: return set_intersection_update(vm, a, b);
    case Binary::kOr: return set_update(vm, a, b);
    default: return set_symmetric_difference_update(vm, a, b);
  }
}

// CPython walks one of the operands and asks the other: which one decides the order of the result.
Value intersect_view(Vm& vm, Value a, Value b) {
  Value asked = is_set_view(a) ? a : b;
  Value walked = is_set_view(a) ? b : a;
  bool set = walked.is(Kind::kSet) && !walked.as<Set>()->frozen;
  if ((set && length(vm, asked) <= length(vm, walked)) ||
      (is_set_view(walked) && length(vm, walked) > length(vm, asked))) {
    std::swap(asked, walked);
  }
  Set* result = make_set(vm);
  for_each(vm, walked, [&](Value item) {
    if (contains(vm, asked, item)) set_add(vm, *result, item);
    return true;
  });
  return Value::object(result);
}

// At least one of them is a view; the other may be anything that can be iterated over.
Value combine_view(Vm& vm, Binary op, Value a, Value b) {
  if (op == Binary::kAnd) return intersect_view(vm, a, b);
  if (op == Binary::kXor && a.is(Kind::kDictView) && b.is(Kind::kDictView) &&
      a.as<DictView>()->view == View::kItems && b.as<DictView>()->view == View::kItems) {
    unsupported("dict.items() ^ dict.items()");
  }
  bool keys = a.is(Kind::kDictView) && a.as<DictView>()->view == View::kKeys;
  Set* result = make_set(vm);
  // CPython makes room for all keys at once, which is a matter of order.
  set_update(vm, *result, keys ? Value::object(a.as<DictView>()->dict) : a);
  update_set(vm, op, *result, b);
  return Value::object(result);
}

}  // namespace

Value combine_sets(Vm& vm, Binary op, Value a, Value b, bool in_place) {
  if (a.is(Kind::kSet) && b.is(Kind::kSet)) {
    if (!in_place || a.as<Set>()->frozen) {
      return combine_two_sets(vm, op, *a.as<Set>(), *b.as<Set>());
    }
    update_set(vm, op, *a.as<Set>(), b);
    return a;
  }
  if (op == Binary::kOr && a.is(Kind::kDict)) {
    if (in_place) {
      dict_update(vm, *a.as<Dict>(), b);
      return a;
    }
    if (b.is(Kind::kDict)) {
      Dict* both = dict_copy(vm, *a.as<Dict>());
      dict_update(vm, *both, b);
      return Value::object(both);
    }
  }
  if (is_set_view(a) || is_set_view(b)) return combine_view(vm, op, a, b);
  return Value::unbound();
}

}  // namespace reft
