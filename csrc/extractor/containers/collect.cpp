// All items of an iterable at once, and how many a container has.
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

List* list_of_range(Vm& vm, const Range& range) {
  vm.check_items(static_cast<std::uint64_t>(range.size));
  List* list = make_list(vm, nullptr, static_cast<std::uint32_t>(range.size));
  std::uint64_t item = static_cast<std::uint64_t>(range.start);  // passes the end unharmed
  for (std::uint32_t i = 0; i < list->size; ++i) {
    list->items[i] = Value::integer(static_cast<std::int64_t>(item));
    item += static_cast<std::uint64_t>(range.step);
  }
  return list;
}

List* list_of_str(Vm& vm, const Str& text) {
  List* list = make_list(vm, nullptr, text.length);
  const char* at = text.data;
  for (std::uint32_t i = 0; i < list->size; ++i) {
    list->items[i] = make_str(vm, decode_utf8(at));
    at += utf8_length(static_cast<unsigned char>(*at));
  }
  return list;
}

List* list_of_keys(Vm& vm, const Dict& dict) {
  List* list = make_list(vm, nullptr, dict.size);
  std::uint32_t position = 0;
  DictEntry* entry;
  for (std::uint32_t i = 0; i < list->size && dict_next(dict, position, entry); ++i) {
    list->items[i] = entry->key;
  }
  return list;
}

List* list_of_set(Vm& vm, const Set& set) {
  List* list = make_list(vm, nullptr, set.used);
  std::uint32_t position = 0;
  Value item;
  for (std::uint32_t i = 0; i < list->size && set_next(vm, set, position, item); ++i) {
    list->items[i] = item;
  }
  return list;
}

}  // namespace

List* collect(Vm& vm, Value a) {
  switch (a.kind) {
    case Kind::kList: return make_list(vm, a.as<List>()->items, a.as<List>()->size);
    case Kind::kTuple: return make_list(vm, a.as<Tuple>()->items, a.as<Tuple>()->size);
    case Kind::kRange: return list_of_range(vm, *a.as<Range>());
    case Kind::kStr: return list_of_str(vm, *a.as<Str>());
    case Kind::kDict: return list_of_keys(vm, *a.as<Dict>());
    case Kind::kSet: return list_of_set(vm, *a.as<Set>());
    default: break;
  }
  Value iterator = iterate(vm, a);
  List* list = make_list(vm);
  Value item;
  while (advance(vm, iterator, item)) list_push(vm, *list, item);
  return list;
}

Tuple* collect_tuple(Vm& vm, Value a) {
  if (a.is(Kind::kTuple)) return a.as<Tuple>();
  const List* list = a.is(Kind::kList) ? a.as<List>() : collect(vm, a);
  return make_tuple(vm, list->items, list->size);
}

std::int64_t length(Vm& vm, Value a) {
  switch (a.kind) {
    case Kind::kStr: return a.as<Str>()->length;
    case Kind::kList: return a.as<List>()->size;
    case Kind::kTuple: return a.as<Tuple>()->size;
    case Kind::kDict: return a.as<Dict>()->size;
    case Kind::kSet: return a.as<Set>()->used;
    case Kind::kRange: return a.as<Range>()->size;
    case Kind::kDictView: return a.as<DictView>()->dict->size;
    case Kind::kForeign: unsupported(a.as<Foreign>()->what);
    default: vm.raise_type("object of type '%s' has no len()", type_name(a));
  }
}

}  // namespace reft
