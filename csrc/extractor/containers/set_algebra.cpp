// Intersections, differences and comparisons of sets: which operand is walked, and what is put in
// when, as CPython 3.11 has it, since the order of the result follows.
#include "containers/iterate.hpp"
#include "containers/keys.hpp"
#include "containers/set_table.hpp"

namespace reft {
namespace {

// Calls `visit(entry)` for every live entry of a set that does not change meanwhile, or until it
// returns false.
template <typename Visit>
void for_each_entry(Vm& vm, const Set& set, Visit visit) {
  vm.charge(set.mask / 8 + set.used);
  for (std::uint32_t i = 0; i <= set.mask; ++i) {
    if (is_live(set.table[i]) && !visit(set.table[i])) return;
  }
}

Set* set_of(Vm& vm, Value iterable, bool frozen) {
  Set* set = make_set(vm, frozen);
  set_update(vm, *set, iterable);
  return set;
}

// More than a quarter of deleted entries makes a new table worth its while.
void drop_deleted(Vm& vm, Set& set) {
  if (set.fill - set.used > set.mask / 4) set_resize_for_more(vm, set);
}

Set* copy_without(Vm& vm, const Set& a, Value b) {
  Set* result = set_copy(vm, a, a.frozen);
  set_difference_update(vm, *result, b);
  return result;
}

// Changes whether `set` has the key.
void toggle(Vm& vm, Set& set, Value key, std::int64_t hash) {
  if (!set_discard_hashed(vm, set, key, hash)) set_add_hashed(vm, set, key, hash);
}

}  // namespace

Set* set_union(Vm& vm, Set& a, Set& b) {
  Set* result = set_copy(vm, a, a.frozen);
  if (&a != &b) set_update(vm, *result, Value::object(&b));
  return result;
}

Set* set_intersection(Vm& vm, Set& a, Set& b) {
  if (&a == &b) return set_copy(vm, a, a.frozen);
  Set* result = make_set(vm, a.frozen);
  // The smaller one is walked and gives the keys; `b` if they are of one size.
  const Set& walked = b.used > a.used ? a : b;
  const Set& other = b.used > a.used ? b : a;
  for_each_entry(vm, walked, [&](const SetEntry& entry) {
    if (set_contains_hashed(vm, other, entry.key, entry.hash)) {
      set_add_hashed(vm, *result, entry.key, entry.hash);
    }
    return true;
  });
  return result;
}

Set* set_intersection(Vm& vm, Set& a, Value b) {
  if (b.is(Kind::kSet)) return set_intersection(vm, a, *b.as<Set>());
  Set* result = make_set(vm, a.frozen);
  for_each(vm, b, [&](Value item) {
    std::int64_t hash = key_hash(vm, item);
    if (!set_contains_hashed(vm, a, item, hash)) return true;
    set_add_hashed(vm, *result, item, hash);
    return result->used < a.used;
  });
  return result;
}

void set_intersection_update(Vm& vm, Set& a, Value b) { set_take(a, *set_intersection(vm, a, b)); }

Set* set_difference(Vm& vm, Set& a, Set& b) { return set_difference(vm, a, Value::object(&b)); }

Set* set_difference(Vm& vm, Set& a, Value b) {
  if (!b.is(Kind::kSet) && !b.is(Kind::kDict)) return copy_without(vm, a, b);
  std::uint32_t size = b.is(Kind::kSet) ? b.as<Set>()->used : b.as<Dict>()->size;
  if (a.used >> 2 > size) return copy_without(vm, a, b);
  Set* result = make_set(vm, a.frozen);
  for_each_entry(vm, a, [&](const SetEntry& entry) {
    bool in_b = b.is(Kind::kSet) ? set_contains_hashed(vm, *b.as<Set>(), entry.key, entry.hash)
                                 : dict_find(vm, *b.as<Dict>(), entry.key, entry.hash) != nullptr;
    if (!in_b) set_add_hashed(vm, *result, entry.key, entry.hash);
    return true;
  });
  return result;
}

void set_difference_update(Vm& vm, Set& a, Value b) {
  if (!b.is(Kind::kSet)) {
    for_each(vm, b, [&](Value item) {
      set_discard_hashed(vm, a, item, key_hash(vm, item));
      return true;
    });
  } else if (b.as<Set>() == &a) {
    set_clear(a);
    return;
  } else {
    Set* other = b.as<Set>();
    if (other->used >> 3 > a.used) other = set_intersection(vm, a, *other);
    for_each_entry(vm, *other, [&](const SetEntry& entry) {
      set_discard_hashed(vm, a, entry.key, entry.hash);
      return true;
    });
  }
  drop_deleted(vm, a);
}

Set* set_symmetric_difference(Vm& vm, Set& a, Set& b) {
  return set_symmetric_difference(vm, a, Value::object(&b));
}

Set* set_symmetric_difference(Vm& vm, Set& a, Value b) {
  Set* result = set_of(vm, b, a.frozen);
  set_symmetric_difference_update(vm, *result, Value::object(&a));
  return result;
}

void set_symmetric_difference_update(Vm& vm, Set& a, Value b) {
  if (b.is(Kind::kDict)) {
    vm.charge(b.as<Dict>()->used);
    std::uint32_t position = 0;
    DictEntry* entry;
    while (dict_next(*b.as<Dict>(), position, entry)) toggle(vm, a, entry->key, entry->hash);
    return;
  }
  const Set* other = b.is(Kind::kSet) ? b.as<Set>() : set_of(vm, b, false);
  if (other == &a) {
    set_clear(a);
    return;
  }
  for_each_entry(vm, *other, [&](const SetEntry& entry) {
    toggle(vm, a, entry.key, entry.hash);
    return true;
  });
}

bool set_is_subset(Vm& vm, Set& a, Set& b) {
  if (a.used > b.used) return false;
  bool all = true;
  for_each_entry(vm, a, [&](const SetEntry& entry) {
    return all = set_contains_hashed(vm, b, entry.key, entry.hash);
  });
  return all;
}

bool set_is_disjoint(Vm& vm, Set& a, Value b) {
  bool none = true;
  if (!b.is(Kind::kSet)) {
    for_each(vm, b, [&](Value item) {
      return none = !set_contains_hashed(vm, a, item, key_hash(vm, item));
    });
    return none;
  }
  const Set& other = *b.as<Set>();
  if (&other == &a) return a.used == 0;
  for_each_entry(vm, other.used > a.used ? a : other, [&](const SetEntry& entry) {
    return none = !set_contains_hashed(vm, other.used > a.used ? other : a, entry.key, entry.hash);
  });
  return none;
}

}  // namespace reft
