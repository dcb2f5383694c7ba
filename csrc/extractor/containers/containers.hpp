// Lists, tuples, dicts and sets from native code. All charge for what they do.
#pragma once

#include <cstdint>

#include "base/vm.hpp"

namespace reft {

Tuple* make_tuple(Vm& vm, const Value* items, std::uint32_t size);  // items may be null: unbound
List* make_list(Vm& vm, const Value* items, std::uint32_t size);    // copies; items may be null
List* make_list(Vm& vm);
// Makes room for `capacity` items in all; checks max_items.
void list_reserve(Vm& vm, List& list, std::uint64_t capacity);
inline void list_push(Vm& vm, List& list, Value item) {
  if (list.size == list.capacity) list_reserve(vm, list, list.size + std::uint64_t{1});
  list.items[list.size++] = item;
}
void list_insert(Vm& vm, List& list, std::int64_t index, Value item);
void list_extend(Vm& vm, List& list, Value iterable);
// Puts `count` items (which may be the list's own) where list[start:stop] was; 0 <= start <= stop
// <= size. With count 0 it deletes.
void list_splice(Vm& vm, List& list, std::uint32_t start, std::uint32_t stop, const Value* items,
                 std::uint32_t count);
// list.sort: key may be None. Compares exactly the pairs CPython compares, in its order; ValueError
// if the list was changed meanwhile.
void list_sort(Vm& vm, List& list, Value key, bool reverse);

Dict* make_dict(Vm& vm);
Value dict_get(Vm& vm, Dict& dict, Value key);  // unbound: absent
Value dict_get_hashed(Vm& vm, Dict& dict, Value key, std::int64_t hash);
DictEntry* dict_find(Vm& vm, Dict& dict, Value key, std::int64_t hash);  // null: absent
void dict_set(Vm& vm, Dict& dict, Value key, Value value);
void dict_set_hashed(Vm& vm, Dict& dict, Value key, std::int64_t hash, Value value);
bool dict_delete(Vm& vm, Dict& dict, Value key);         // false: absent
void dict_remove(Vm& vm, Dict& dict, DictEntry* entry);  // a live entry of this dict
void dict_clear(Dict& dict);
Dict* dict_copy(Vm& vm, const Dict& dict);
void dict_update(Vm& vm, Dict& dict, Value mapping_or_pairs);
DictView* make_view(Vm& vm, Dict& dict, View view);
// Walks the live entries: `position` starts at 0 (dict.used when backwards); false at the end. An
// iterator must look first whether dict.size has changed (RuntimeError "dictionary changed size
// during iteration"), then whether dict.changes has (Unsupported: where CPython goes on then
// depends on how large its table is).
bool dict_next(const Dict& dict, std::uint32_t& position, DictEntry*& entry);
bool dict_previous(Vm& vm, const Dict& dict, std::uint32_t& position, DictEntry*& entry);

Set* make_set(Vm& vm, bool frozen = false);
bool set_contains(Vm& vm, Set& set, Value item);
void set_add(Vm& vm, Set& set, Value item);
bool set_discard(Vm& vm, Set& set, Value item);
void set_clear(Set& set);
void set_update(Vm& vm, Set& set, Value iterable);
// A display of three or more constants is, in CPython, a copy of a frozenset of them: its order is
// that of set_copy(vm, <frozenset the items were added to>, false).
Set* set_copy(Vm& vm, const Set& set, bool frozen);
// a | b, a & b, a - b, a ^ b of two sets, in CPython's order of insertion; frozen if `a` is.
Set* set_union(Vm& vm, Set& a, Set& b);
Set* set_intersection(Vm& vm, Set& a, Set& b);
Set* set_difference(Vm& vm, Set& a, Set& b);
Set* set_symmetric_difference(Vm& vm, Set& a, Set& b);
// The same of a set and any iterable, and in place (a |= b is set_update).
Set* set_intersection(Vm& vm, Set& a, Value b);
Set* set_difference(Vm& vm, Set& a, Value b);
Set* set_symmetric_difference(Vm& vm, Set& a, Value b);
void set_intersection_update(Vm& vm, Set& a, Value b);
void set_difference_update(Vm& vm, Set& a, Value b);
void set_symmetric_difference_update(Vm& vm, Set& a, Value b);
bool set_is_subset(Vm& vm, Set& a, Set& b);
bool set_is_disjoint(Vm& vm, Set& a, Value b);
// Walks the live entries: `position` starts at 0; false at the end. The one with `vm` charges for
// the gaps it skips; the other is for callers that have charged for the whole table.
bool set_next(Vm& vm, const Set& set, std::uint32_t& position, Value& item);
bool set_next(const Set& set, std::uint32_t& position, Value& item);

}  // namespace reft
