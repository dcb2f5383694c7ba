// What the files about sets know of each other: entries, and operations with a hash at hand.
#pragma once

#include "containers/containers.hpp"

namespace reft {

inline SetEntry deleted_entry() { return SetEntry{Value::of_kind(Kind::kEllipsis), -1}; }
// No key has the hash -1.
inline bool is_live(const SetEntry& entry) { return !entry.key.is_unbound() && entry.hash != -1; }

bool set_contains_hashed(Vm& vm, const Set& set, Value key, std::int64_t hash);
void set_add_hashed(Vm& vm, Set& set, Value key, std::int64_t hash);
bool set_discard_hashed(Vm& vm, Set& set, Value key, std::int64_t hash);
// Makes the table anew, with the room CPython gives a set of that size.
void set_resize_for_more(Vm& vm, Set& set);
// A set takes over the items of another, which must not be used any more; it keeps its finger.
void set_take(Set& set, const Set& other);
// Removes and returns some item; unbound if there is none.
Value set_pop(Vm& vm, Set& set);

}  // namespace reft
