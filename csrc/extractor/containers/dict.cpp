// Dicts: entries in the order of insertion, and an index over them.
//
// The index is open addressing with linear probing and at most half full; removing shifts later
// slots back, so that it never holds anything but live entries. Every further slot looked at is
// charged.
#include <algorithm>
#include <bit>
#include <cstring>

#include "containers/containers.hpp"
#include "containers/keys.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kScanned = 8;  // so many entries need no index
constexpr std::uint32_t kFirstCapacity = 4;

std::uint32_t home(const Dict& dict, std::int64_t hash) {
  std::uint64_t mixed = static_cast<std::uint64_t>(hash) * 0x9E3779B97F4A7C15u;
  return static_cast<std::uint32_t>(mixed >> 32) & (dict.slots - 1);
}

std::uint32_t after(const Dict& dict, std::uint32_t slot) { return (slot + 1) & (dict.slots - 1); }

// The slot of the entry with this key, or the free one where it belongs.
std::uint32_t find_slot(Vm& vm, const Dict& dict, Value key, std::int64_t hash) {
  std::uint32_t slot = home(dict, hash);
  while (dict.index[slot] >= 0) {
    const DictEntry& entry = dict.entries[dict.index[slot]];
    if (entry.hash == hash && same_key(vm, entry.key, key)) break;
    vm.step();
    slot = after(dict, slot);
  }
  return slot;
}

std::uint32_t free_slot(Vm& vm, const Dict& dict, std::int64_t hash) {
  std::uint32_t slot = home(dict, hash);
  while (dict.index[slot] >= 0) {
    vm.step();
    slot = after(dict, slot);
  }
  return slot;
}

DictEntry* scan(Vm& vm, const Dict& dict, Value key, std::int64_t hash) {
  for (DictEntry* entry = dict.entries; entry != dict.entries + dict.used; ++entry) {
    // The hash of a deleted entry is something else: see dict_remove.
    if (entry->hash == hash && !entry->key.is_unbound() && same_key(vm, entry->key, key)) {
      return entry;
    }
  }
  return nullptr;
}

// Makes the index anew for the capacity.
void index_entries(Vm& vm, Dict& dict) {
  if (dict.capacity <= kScanned) {
    dict.slots = 0;
    return;
  }
  std::uint32_t slots = std::bit_ceil(dict.capacity * 2);
  if (slots != dict.slots) {
    dict.index = vm.arena.array<std::int32_t>(slots);
    dict.slots = slots;
  }
  vm.charge(slots / 8);
  std::memset(dict.index, 0xFF, slots * sizeof(std::int32_t));
  for (std::uint32_t i = 0; i < dict.used; ++i) {
    dict.index[free_slot(vm, dict, dict.entries[i].hash)] = static_cast<std::int32_t>(i);
  }
}

// Room for one more entry: a larger array, or the places of deleted entries.
void make_room(Vm& vm, Dict& dict) {
  vm.check_items(std::uint64_t{dict.size} + 1);
  vm.charge(dict.used / 4);
  std::uint64_t larger = std::max<std::uint64_t>(kFirstCapacity, std::uint64_t{dict.capacity} * 2);
  larger = std::min<std::uint64_t>(larger, vm.limits.max_items);
  if (dict.size >= dict.capacity - dict.capacity / 4 && larger > dict.capacity) {
    dict.entries = vm.arena.regrow(dict.entries, dict.used, dict.capacity, larger);
    dict.capacity = static_cast<std::uint32_t>(larger);
  }
  if (dict.size != dict.used) {
    DictEntry* end = std::remove_if(dict.entries, dict.entries + dict.used,
                                    [](const DictEntry& e) { return e.key.is_unbound(); });
    dict.used = static_cast<std::uint32_t>(end - dict.entries);
  }
  index_entries(vm, dict);
}

// Takes the entry out of the index and moves back what was probed past it.
void unlink(Vm& vm, Dict& dict, std::int32_t number) {
  std::uint32_t mask = dict.slots - 1;
  std::uint32_t hole = home(dict, dict.entries[number].hash);
  while (dict.index[hole] != number) {
    vm.step();
    hole = after(dict, hole);
  }
  for (std::uint32_t slot = after(dict, hole); dict.index[slot] >= 0; slot = after(dict, slot)) {
    vm.step();
    std::uint32_t start = home(dict, dict.entries[dict.index[slot]].hash);
    if (((slot - start) & mask) >= ((slot - hole) & mask)) {
      dict.index[hole] = dict.index[slot];
      hole = slot;
    }
  }
  dict.index[hole] = -1;
}

}  // namespace

Dict* make_dict(Vm& vm) {
  auto* dict = vm.make<Dict>(Kind::kDict);
  dict->size = dict->used = dict->capacity = dict->slots = dict->changes = 0;
  dict->entries = nullptr;
  dict->index = nullptr;
  return dict;
}

DictEntry* dict_find(Vm& vm, Dict& dict, Value key, std::int64_t hash) {
  if (dict.slots == 0) return scan(vm, dict, key, hash);
  std::int32_t number = dict.index[find_slot(vm, dict, key, hash)];
  return number < 0 ? nullptr : dict.entries + number;
}

Value dict_get_hashed(Vm& vm, Dict& dict, Value key, std::int64_t hash) {
  const DictEntry* entry = dict_find(vm, dict, key, hash);
  return entry == nullptr ? Value::unbound() : entry->value;
}

Value dict_get(Vm& vm, Dict& dict, Value key) {
  return dict_get_hashed(vm, dict, key, key_hash(vm, key));
}

void dict_set(Vm& vm, Dict& dict, Value key, Value value) {
  dict_set_hashed(vm, dict, key, key_hash(vm, key), value);
}

void dict_set_hashed(Vm& vm, Dict& dict, Value key, std::int64_t hash, Value value) {
  std::uint32_t slot = 0;
  DictEntry* present = nullptr;
  if (dict.slots == 0) {
    present = scan(vm, dict, key, hash);
  } else {
    slot = find_slot(vm, dict, key, hash);
    if (dict.index[slot] >= 0) present = dict.entries + dict.index[slot];
  }
  if (present != nullptr) {
    present->value = value;
    return;
  }
  if (dict.used == dict.capacity) {
    make_room(vm, dict);
    if (dict.slots != 0) slot = free_slot(vm, dict, hash);
  }
  if (dict.slots != 0) dict.index[slot] = static_cast<std::int32_t>(dict.used);
  dict.entries[dict.used] = DictEntry{hash, key, value};
  ++dict.used;
  ++dict.size;
  ++dict.changes;
}

void dict_remove(Vm& vm, Dict& dict, DictEntry* entry) {
  auto number = static_cast<std::uint32_t>(entry - dict.entries);
  if (dict.slots != 0) unlink(vm, dict, static_cast<std::int32_t>(number));
  entry->key = entry->value = Value::unbound();
  entry->hash = std::int64_t{number} + 1;  // where to go on: see dict_next
  --dict.size;
  ++dict.changes;
  while (dict.used > 0 && dict.entries[dict.used - 1].key.is_unbound()) --dict.used;
}

bool dict_delete(Vm& vm, Dict& dict, Value key) {
  DictEntry* entry = dict_find(vm, dict, key, key_hash(vm, key));
  if (entry == nullptr) return false;
  dict_remove(vm, dict, entry);
  return true;
}

void dict_clear(Dict& dict) {
  // Emptying a large index would be work that nobody has charged.
  if (dict.slots != 0) {
    dict.slots = dict.capacity = 0;
    dict.entries = nullptr;
    dict.index = nullptr;
  }
  dict.size = dict.used = 0;
  ++dict.changes;
}

Dict* dict_copy(Vm& vm, const Dict& dict) {
  Dict* copy = make_dict(vm);
  if (dict.size == 0) return copy;
  vm.charge(dict.used / 4);
  copy->capacity = std::max(dict.size, kFirstCapacity);
  copy->entries = vm.arena.array<DictEntry>(copy->capacity);
  for (std::uint32_t i = 0; i < dict.used; ++i) {
    if (!dict.entries[i].key.is_unbound()) copy->entries[copy->used++] = dict.entries[i];
  }
  copy->size = copy->used;
  index_entries(vm, *copy);
  return copy;
}

DictView* make_view(Vm& vm, Dict& dict, View view) {
  auto* object = vm.make<DictView>(Kind::kDictView);
  object->view = view;
  object->dict = &dict;
  return object;
}

bool dict_next(const Dict& dict, std::uint32_t& position, DictEntry*& entry) {
  while (position < dict.used) {
    entry = dict.entries + position;
    if (!entry->key.is_unbound()) {
      ++position;
      return true;
    }
    // A deleted entry says where to go on. Shortening the way as it is gone keeps gaps cheap,
    // however often they are crossed. (What a pointer skips is deleted, so no pointer outlives the
    // cutting off of deleted entries at the end.)
    auto target = static_cast<std::uint32_t>(entry->hash);
    if (target < dict.used && dict.entries[target].key.is_unbound()) {
      entry->hash = dict.entries[target].hash;
    }
    position = target;
  }
  return false;
}

bool dict_previous(Vm& vm, const Dict& dict, std::uint32_t& position, DictEntry*& entry) {
  position = std::min(position, dict.used);
  while (position > 0) {
    entry = dict.entries + --position;
    if (!entry->key.is_unbound()) return true;
    vm.step();
  }
  return false;
}

}  // namespace reft
