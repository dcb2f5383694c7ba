// Sets: the table of CPython 3.11, probed, filled and resized as it does, because the order in
// which a set is walked is the order of its table.
#include "containers/set_table.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "containers/iterate.hpp"
#include "containers/keys.hpp"

namespace reft {
namespace {

constexpr std::uint64_t kLinearProbes = 9;
constexpr int kPerturbShift = 5;
constexpr std::uint64_t kSmallest = 8;
constexpr std::uint64_t kLargest = std::uint64_t{1} << 31;
constexpr std::uint32_t kLarge = 50'000;  // from here on a table doubles instead of quadrupling

// The order in which slots are tried: a run of neighbours, then a jump, and so on.
class Probe {
 public:
  Probe(std::uint64_t mask, std::int64_t hash)
      : mask_(mask), perturb_(static_cast<std::uint64_t>(hash)), slot_(perturb_ & mask) {
    start_run();
  }
  std::uint64_t slot() const { return slot_; }
  bool next_in_run() {
    if (left_ == 0) return false;
    --left_;
    ++slot_;
    return true;
  }
  void jump() {
    perturb_ >>= kPerturbShift;
    start_ = (start_ * 5 + 1 + perturb_) & mask_;
    slot_ = start_;
    start_run();
  }

 private:
  void start_run() { left_ = slot_ + kLinearProbes <= mask_ ? kLinearProbes : 0; }
  std::uint64_t mask_;
  std::uint64_t perturb_;
  std::uint64_t slot_;
  std::uint64_t start_ = slot_;  // of this run
  std::uint64_t left_ = 0;       // further slots of this run
};

bool is_free(const SetEntry& entry) { return entry.key.is_unbound(); }

// Where a key is, or where it belongs.
struct Place {
  SetEntry* entry;    // the key's, or the free one at which the search ended
  SetEntry* deleted;  // the last deleted entry passed; null: none
};

Place find(Vm& vm, const Set& set, Value key, std::int64_t hash) {
  Probe probe(set.mask, hash);
  SetEntry* deleted = nullptr;
  for (;;) {
    do {
      SetEntry& entry = set.table[probe.slot()];
      if (is_free(entry)) return {&entry, deleted};
      if (entry.hash == hash) {
        if (same_key(vm, entry.key, key)) return {&entry, deleted};
      } else if (entry.hash == -1) {  // no key's hash
        deleted = &entry;
      }
    } while (probe.next_in_run());
    vm.step();
    probe.jump();
  }
}

// Puts in a key that is not there, in a table without deleted entries.
void insert_clean(Vm& vm, SetEntry* table, std::uint32_t mask, Value key, std::int64_t hash) {
  Probe probe(mask, hash);
  for (;;) {
    do {
      SetEntry& entry = table[probe.slot()];
      if (is_free(entry)) {
        entry = SetEntry{key, hash};
        return;
      }
    } while (probe.next_in_run());
    vm.step();
    probe.jump();
  }
}

SetEntry* empty_table(Vm& vm, std::uint64_t size) {
  SetEntry* table = vm.arena.array<SetEntry>(size);
  std::memset(static_cast<void*>(table), 0, size * sizeof(SetEntry));  // a zero Value is unbound
  return table;
}

// Moves the live entries to a table of more than `least` slots.
void resize(Vm& vm, Set& set, std::uint64_t least) {
  std::uint64_t size = std::max(kSmallest, std::bit_ceil(least + 1));
  if (size > kLargest) stop(Status::kMemoryLimit, "items of one container");
  vm.charge((set.mask + size) / 8);
  const SetEntry* old_table = set.table;
  std::uint32_t old_mask = set.mask;
  set.table = empty_table(vm, size);
  set.mask = static_cast<std::uint32_t>(size - 1);
  set.fill = set.used;
  for (std::uint32_t i = 0; i <= old_mask; ++i) {
    const SetEntry& entry = old_table[i];
    if (is_live(entry)) insert_clean(vm, set.table, set.mask, entry.key, entry.hash);
  }
}

// Before so many keys are put in at once: one large step instead of several.
void make_room(Vm& vm, Set& set, std::uint64_t more) {
  if ((set.fill + more) * 5 >= std::uint64_t{set.mask} * 3) resize(vm, set, (set.used + more) * 2);
}

void merge(Vm& vm, Set& set, const Set& other) {
  if (&other == &set || other.used == 0) return;
  vm.charge(other.mask / 8 + other.used);
  make_room(vm, set, other.used);
  if (set.fill == 0 && set.mask == other.mask && other.fill == other.used) {
    std::memcpy(static_cast<void*>(set.table), other.table,
                (std::size_t{other.mask} + 1) * sizeof(SetEntry));
    set.fill = set.used = other.used;
    return;
  }
  bool clean = set.fill == 0;
  if (clean) set.fill = set.used = other.used;
  for (std::uint32_t i = 0; i <= other.mask; ++i) {
    const SetEntry& entry = other.table[i];
    if (!is_live(entry)) continue;
    if (clean) {
      insert_clean(vm, set.table, set.mask, entry.key, entry.hash);
    } else {
      set_add_hashed(vm, set, entry.key, entry.hash);
    }
  }
}

void add_keys(Vm& vm, Set& set, const Dict& dict) {
  vm.charge(dict.used);
  make_room(vm, set, dict.size);
  std::uint32_t position = 0;
  DictEntry* entry;
  while (dict_next(dict, position, entry)) set_add_hashed(vm, set, entry->key, entry->hash);
}

// Sets have no hash, but may be looked for as the frozenset they equal.
std::int64_t sought_hash(Vm& vm, Value& item) {
  if (item.is(Kind::kSet) && !item.as<Set>()->frozen) {
    item = Value::object(set_copy(vm, *item.as<Set>(), true));
  }
  return key_hash(vm, item);
}

}  // namespace

Set* make_set(Vm& vm, bool frozen) {
  // The first table lies behind the set.
  auto* set = vm.make<Set>(Kind::kSet, kSmallest * sizeof(SetEntry));
  set->frozen = frozen;
  set->finger = 0;
  set->table = reinterpret_cast<SetEntry*>(set + 1);
  set_clear(*set);
  return set;
}

void set_clear(Set& set) {
  // The table stays where it is and becomes small; the finger stays too.
  set.used = set.fill = 0;
  set.mask = kSmallest - 1;
  std::memset(static_cast<void*>(set.table), 0, kSmallest * sizeof(SetEntry));
}

void set_take(Set& set, const Set& other) {
  set.used = other.used;
  set.fill = other.fill;
  set.mask = other.mask;
  set.table = other.table;
}

bool set_contains_hashed(Vm& vm, const Set& set, Value key, std::int64_t hash) {
  return !is_free(*find(vm, set, key, hash).entry);
}

void set_add_hashed(Vm& vm, Set& set, Value key, std::int64_t hash) {
  Place place = find(vm, set, key, hash);
  if (!is_free(*place.entry)) return;
  vm.check_items(std::uint64_t{set.used} + 1);
  ++set.used;
  if (place.deleted != nullptr) {
    *place.deleted = SetEntry{key, hash};
    return;
  }
  *place.entry = SetEntry{key, hash};
  ++set.fill;
  if (std::uint64_t{set.fill} * 5 >= std::uint64_t{set.mask} * 3) set_resize_for_more(vm, set);
}

bool set_discard_hashed(Vm& vm, Set& set, Value key, std::int64_t hash) {
  SetEntry* entry = find(vm, set, key, hash).entry;
  if (is_free(*entry)) return false;
  *entry = deleted_entry();
  --set.used;
  return true;
}

void set_resize_for_more(Vm& vm, Set& set) {
  resize(vm, set, std::uint64_t{set.used} * (set.used > kLarge ? 2 : 4));
}

bool set_contains(Vm& vm, Set& set, Value item) {
  std::int64_t hash = sought_hash(vm, item);
  return set_contains_hashed(vm, set, item, hash);
}

void set_add(Vm& vm, Set& set, Value item) { set_add_hashed(vm, set, item, key_hash(vm, item)); }

bool set_discard(Vm& vm, Set& set, Value item) {
  std::int64_t hash = sought_hash(vm, item);
  return set_discard_hashed(vm, set, item, hash);
}

void set_update(Vm& vm, Set& set, Value iterable) {
  if (iterable.is(Kind::kSet)) {
    merge(vm, set, *iterable.as<Set>());
  } else if (iterable.is(Kind::kDict)) {
    add_keys(vm, set, *iterable.as<Dict>());
  } else {
    for_each(vm, iterable, [&](Value item) {
      set_add(vm, set, item);
      return true;
    });
  }
}

Set* set_copy(Vm& vm, const Set& set, bool frozen) {
  Set* copy = make_set(vm, frozen);
  merge(vm, *copy, set);
  return copy;
}

Value set_pop(Vm& vm, Set& set) {
  if (set.used == 0) return Value::unbound();
  std::uint32_t slot = set.finger & set.mask;
  while (!is_live(set.table[slot])) {
    vm.step();
    slot = (slot + 1) & set.mask;
  }
  Value key = set.table[slot].key;
  set.table[slot] = deleted_entry();
  --set.used;
  set.finger = slot + 1;
  return key;
}

bool set_next(const Set& set, std::uint32_t& position, Value& item) {
  while (position <= set.mask) {
    const SetEntry& entry = set.table[position++];
    if (is_live(entry)) {
      item = entry.key;
      return true;
    }
  }
  return false;
}

bool set_next(Vm& vm, const Set& set, std::uint32_t& position, Value& item) {
  std::uint32_t start = position;
  bool found = set_next(set, position, item);
  vm.charge((position - start) / 8);
  return found;
}

}  // namespace reft
