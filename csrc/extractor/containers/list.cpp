// Lists: making and growing them, and moving their items.
#include <algorithm>
#include <cstring>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"

namespace reft {
namespace {

void copy_items(Value* to, const Value* from, std::size_t count) {
  if (count != 0) std::memcpy(static_cast<void*>(to), from, count * sizeof(Value));
}

void move_items(Value* to, const Value* from, std::size_t count) {
  if (count != 0) std::memmove(static_cast<void*>(to), from, count * sizeof(Value));
}

// `source` may be the list itself.
void append_all(Vm& vm, List& list, const List& source) {
  std::uint32_t count = source.size;
  vm.charge(count / 8);
  list_reserve(vm, list, std::uint64_t{list.size} + count);
  copy_items(list.items + list.size, source.items, count);
  list.size += count;
}

}  // namespace

List* make_list(Vm& vm) {
  auto* list = vm.make<List>(Kind::kList);
  list->size = list->capacity = 0;
  list->items = nullptr;
  return list;
}

List* make_list(Vm& vm, const Value* items, std::uint32_t size) {
  List* list = make_list(vm);
  if (size == 0) return list;
  vm.check_items(size);
  vm.charge(size / 8);
  list->items = vm.arena.array<Value>(size);
  list->size = list->capacity = size;
  if (items == nullptr) {
    std::fill_n(list->items, size, Value::unbound());
  } else {
    copy_items(list->items, items, size);
  }
  return list;
}

void list_reserve(Vm& vm, List& list, std::uint64_t capacity) {
  if (capacity <= list.capacity) return;
  vm.check_items(capacity);
  vm.charge(list.size / 8);
  std::uint64_t roomy = std::uint64_t{list.capacity} + list.capacity / 2 + 4;
  std::uint64_t grown = std::max(capacity, std::min<std::uint64_t>(roomy, vm.limits.max_items));
  list.items = vm.arena.regrow(list.items, list.size, list.capacity, grown);
  list.capacity = static_cast<std::uint32_t>(grown);
}

void list_insert(Vm& vm, List& list, std::int64_t index, Value item) {
  std::int64_t size = list.size;
  if (index < 0) index = std::max<std::int64_t>(index + size, 0);
  auto at = static_cast<std::uint32_t>(std::min(index, size));
  list_splice(vm, list, at, at, &item, 1);
}

void list_extend(Vm& vm, List& list, Value iterable) {
  if (iterable.is(Kind::kList)) {
    append_all(vm, list, *iterable.as<List>());
  } else if (iterable.is(Kind::kTuple)) {
    const Tuple& tuple = *iterable.as<Tuple>();
    list_splice(vm, list, list.size, list.size, tuple.items, tuple.size);
  } else {
    for_each(vm, iterable, [&](Value item) {
      list_push(vm, list, item);
      return true;
    });
  }
}

void list_splice(Vm& vm, List& list, std::uint32_t start, std::uint32_t stop, const Value* items,
                 std::uint32_t count) {
  std::uint32_t behind = list.size - stop;
  vm.charge((std::uint64_t{behind} + count) / 8);
  if (count > stop - start) {
    list_reserve(vm, list, std::uint64_t{list.size} - (stop - start) + count);
  }
  bool own = count != 0 && items >= list.items && items < list.items + list.size;
  if (own) {
    Value* copy = vm.arena.array<Value>(count);
    copy_items(copy, items, count);
    items = copy;
  }
  move_items(list.items + start + count, list.items + stop, behind);
  copy_items(list.items + start, items, count);
  list.size = start + count + behind;
}

}  // namespace reft
