// Making tuples.
#include <cstring>

#include "containers/containers.hpp"

namespace reft {

Tuple* make_tuple(Vm& vm, const Value* items, std::uint32_t size) {
  vm.check_items(size);
  vm.charge(size / 8);
  auto* tuple = vm.make<Tuple>(Kind::kTuple, size * sizeof(Value));
  tuple->size = size;
  if (items == nullptr) {
    for (std::uint32_t i = 0; i < size; ++i) tuple->items[i] = Value::unbound();
  } else if (size != 0) {
    std::memcpy(static_cast<void*>(tuple->items), items, size * sizeof(Value));
  }
  return tuple;
}

}  // namespace reft
