// dict.update(mapping or pairs), which is dict(mapping or pairs) too.
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "containers/keys.hpp"

namespace reft {
namespace {

void merge(Vm& vm, Dict& dict, const Dict& other) {
  vm.charge(other.used);
  std::uint32_t position = 0;
  DictEntry* entry;
  while (dict_next(other, position, entry)) {
    dict_set_hashed(vm, dict, entry->key, entry->hash, entry->value);
  }
}

// The items of an element that is neither a list nor a tuple.
Tuple* unpack_element(Vm& vm, Value element, std::uint32_t number) {
  try {
    return collect_tuple(vm, element);
  } catch (const Raised&) {
    if (vm.raised.as<Exception>()->type != Exc::kTypeError) throw;
  }
  vm.raise_type("cannot convert dictionary update sequence element #%u to a sequence", number);
}

void set_pair(Vm& vm, Dict& dict, Value element, std::uint32_t number) {
  const Value* items;
  std::uint32_t size;
  if (element.is(Kind::kList)) {
    items = element.as<List>()->items;
    size = element.as<List>()->size;
  } else {
    const Tuple* tuple =
        element.is(Kind::kTuple) ? element.as<Tuple>() : unpack_element(vm, element, number);
    items = tuple->items;
    size = tuple->size;
  }
  if (size != 2) {
    vm.raise(Exc::kValueError,
             "dictionary update sequence element #%u has length %u; 2 is required", number, size);
  }
  dict_set(vm, dict, items[0], items[1]);
}

}  // namespace

void dict_update(Vm& vm, Dict& dict, Value mapping_or_pairs) {
  if (mapping_or_pairs.is(Kind::kDict)) {
    const Dict& other = *mapping_or_pairs.as<Dict>();
    if (&other != &dict) merge(vm, dict, other);
    return;
  }
  std::uint32_t number = 0;
  for_each(vm, mapping_or_pairs, [&](Value element) {
    set_pair(vm, dict, element, number++);
    return true;
  });
}

}  // namespace reft
