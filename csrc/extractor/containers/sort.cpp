// list.sort: keys, fast comparisons for the usual ones, the list while it is being sorted.
#include <algorithm>
#include <bit>

#include "containers/containers.hpp"
#include "containers/timsort.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

enum class Keys : std::uint8_t { kInts, kFloats, kTexts, kAny };

bool text_less(Vm& vm, const Str& a, const Str& b) {
  vm.charge(std::min(a.bytes, b.bytes) / 64);
  return a.view() < b.view();  // UTF-8 orders as its code points do
}

struct KeyLess {
  Vm& vm;
  Keys keys;

  bool operator()(Value a, Value b) const {
    switch (keys) {
      case Keys::kInts: return a.i < b.i;
      case Keys::kFloats: return a.f < b.f;
      case Keys::kTexts: return text_less(vm, *a.as<Str>(), *b.as<Str>());
      case Keys::kAny: break;
    }
    return less(vm, a, b);
  }
};

template <typename Item>
Keys common_kind(const Item* items, std::uint32_t size) {
  Kind kind = key_of(items[0]).kind;
  for (std::uint32_t i = 1; i < size; ++i) {
    if (key_of(items[i]).kind != kind) return Keys::kAny;
  }
  return kind == Kind::kInt     ? Keys::kInts
         : kind == Kind::kFloat ? Keys::kFloats
         : kind == Kind::kStr   ? Keys::kTexts
                                : Keys::kAny;
}

// Items turned round as long as it lives, also when a comparison raises: sorting backwards must be
// stable too.
template <typename Item>
class Reversed {
 public:
  Reversed(Item* items, std::uint32_t size, bool on) : items_(items), size_(on ? size : 0) {
    std::reverse(items_, items_ + size_);
  }
  ~Reversed() { std::reverse(items_, items_ + size_); }
  Reversed(const Reversed&) = delete;
  Reversed& operator=(const Reversed&) = delete;

 private:
  Item* items_;
  std::uint32_t size_;
};

template <typename Item>
void sort_items(Vm& vm, Item* items, std::uint32_t size, bool reverse) {
  if (size < 2) return;
  vm.charge(std::uint64_t{size} * static_cast<std::uint64_t>(std::bit_width(size)) / 2);
  Reversed<Item> reversed(items, size, reverse);
  KeyLess less{vm, common_kind(items, size)};
  Timsort<Item, KeyLess>(vm, items, size, less).run();
}

// The list is empty while its keys are computed and compared.
class Emptied {
 public:
  explicit Emptied(List& list) : list_(list), contents_(list) {
    list_.items = nullptr;
    list_.size = list_.capacity = 0;
  }
  ~Emptied() { list_ = contents_; }
  Emptied(const Emptied&) = delete;
  Emptied& operator=(const Emptied&) = delete;

  Value* items() const { return contents_.items; }
  std::uint32_t size() const { return contents_.size; }
  bool changed() const { return list_.items != nullptr; }

 private:
  List& list_;
  List contents_;
};

// The keys beside their items, which go back when it ends.
class KeyedItems {
 public:
  KeyedItems(Vm& vm, Value* items, std::uint32_t size) : items_(items), size_(size) {
    keyed_ = vm.arena.array<Keyed>(size);
    for (std::uint32_t i = 0; i < size; ++i) keyed_[i] = Keyed{Value::unbound(), items[i]};
  }
  ~KeyedItems() {
    for (std::uint32_t i = 0; i < size_; ++i) items_[i] = keyed_[i].value;
  }
  KeyedItems(const KeyedItems&) = delete;
  KeyedItems& operator=(const KeyedItems&) = delete;
  Keyed* get() const { return keyed_; }

 private:
  Value* items_;
  std::uint32_t size_;
  Keyed* keyed_;
};

}  // namespace

void list_sort(Vm& vm, List& list, Value key, bool reverse) {
  Emptied contents(list);
  std::uint32_t size = contents.size();
  vm.charge(size / 2);
  if (key.is_none()) {
    sort_items(vm, contents.items(), size, reverse);
  } else {
    KeyedItems items(vm, contents.items(), size);
    for (std::uint32_t i = 0; i < size; ++i) {
      Keyed& item = items.get()[i];
      item.key = call(vm, key, &item.value, 1);
    }
    sort_items(vm, items.get(), size, reverse);
  }
  if (contents.changed()) vm.raise(Exc::kValueError, "list modified during sort");
}

}  // namespace reft
