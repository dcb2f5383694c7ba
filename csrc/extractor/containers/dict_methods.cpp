// Methods of dicts and their views.
#include "containers/container_methods.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "containers/keys.hpp"
#include "containers/native_method.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

Dict& self(const Args& args) { return *args[0].as<Dict>(); }

Value clear(Vm&, const Args& args) {
  dict_clear(self(args));
  return Value::none();
}

Value copy(Vm& vm, const Args& args) { return Value::object(dict_copy(vm, self(args))); }

Value get(Vm& vm, const Args& args) {
  Value found = dict_get(vm, self(args), args[1]);
  if (!found.is_unbound()) return found;
  return args.count > 2 ? args[2] : Value::none();
}

Value items(Vm& vm, const Args& args) {
  return Value::object(make_view(vm, self(args), View::kItems));
}

Value keys(Vm& vm, const Args& args) {
  return Value::object(make_view(vm, self(args), View::kKeys));
}

Value values(Vm& vm, const Args& args) {
  return Value::object(make_view(vm, self(args), View::kValues));
}

Value pop(Vm& vm, const Args& args) {
  Dict& dict = self(args);
  // An empty dict does not ask for the hash of the key, which may be unhashable.
  DictEntry* entry = dict.size == 0 ? nullptr : dict_find(vm, dict, args[1], key_hash(vm, args[1]));
  if (entry == nullptr) {
    if (args.count > 2) return args[2];
    vm.raise_with(Exc::kKeyError, args[1]);
  }
  Value value = entry->value;
  dict_remove(vm, dict, entry);
  return value;
}

Value popitem(Vm& vm, const Args& args) {
  Dict& dict = self(args);
  if (dict.size == 0) vm.raise(Exc::kKeyError, "popitem(): dictionary is empty");
  DictEntry* last = dict.entries + dict.used - 1;  // deleted entries at the end are cut off
  Value pair[2] = {last->key, last->value};
  dict_remove(vm, dict, last);
  return Value::object(make_tuple(vm, pair, 2));
}

Value setdefault(Vm& vm, const Args& args) {
  Dict& dict = self(args);
  std::int64_t hash = key_hash(vm, args[1]);
  const DictEntry* entry = dict_find(vm, dict, args[1], hash);
  if (entry != nullptr) return entry->value;
  Value value = args.count > 2 ? args[2] : Value::none();
  dict_set_hashed(vm, dict, args[1], hash, value);
  return value;
}

Value update(Vm& vm, const Args& args) {
  Args given{args.at + 1, args.count - 1};
  expect_count(vm, given, "update", 0, 1);
  if (given.count != 0) dict_update(vm, self(args), given[0]);
  for (std::uint32_t i = 0; i < args.keyword_count; ++i) {
    Value key = borrow_str(vm, vm.symbol_text(args.keywords[i].name));
    dict_set(vm, self(args), key, args.keywords[i].value);
  }
  return Value::none();
}

Value type_fromkeys(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "dict.fromkeys");
  expect_count(vm, args, "fromkeys", 1, 2);
  Dict* dict = make_dict(vm);
  Value value = args.count > 1 ? args[1] : Value::none();
  for_each(vm, args[0], [&](Value key) {
    dict_set(vm, *dict, key, value);
    return true;
  });
  return Value::object(dict);
}

Value fromkeys(Vm& vm, const Args& args) {
  return type_fromkeys(vm, Args{args.at + 1, args.count - 1, args.keywords, args.keyword_count});
}

constexpr Native kTypeFromkeys{{Kind::kNative}, type_fromkeys, N_fromkeys};

// ---- views

Value isdisjoint(Vm& vm, const Args& args) {
  Value view = args[0];
  Value other = args[1];
  bool is_set = other.is(Kind::kSet) ||
                (other.is(Kind::kDictView) && other.as<DictView>()->view != View::kValues);
  // The shorter of two sets is walked, which shows when it holds unhashable values.
  if (is_set && length(vm, other) > length(vm, view)) std::swap(view, other);
  bool none = true;
  for_each(vm, other, [&](Value item) { return none = !contains(vm, view, item); });
  return Value::boolean(none);
}

}  // namespace

const Native* dict_method(Symbol name) {
  constexpr Receiver kSelf = Receiver::kDict;
  switch (name) {
    case N_clear: return &kMethod<kSelf, N_clear, clear, 0>;
    case N_copy: return &kMethod<kSelf, N_copy, copy, 0>;
    case N_fromkeys: return &kMethod<kSelf, N_fromkeys, fromkeys, kOwnCheck>;
    case N_get: return &kMethod<kSelf, N_get, get, 1, 2>;
    case N_items: return &kMethod<kSelf, N_items, items, 0>;
    case N_keys: return &kMethod<kSelf, N_keys, keys, 0>;
    case N_pop: return &kMethod<kSelf, N_pop, pop, 1, 2>;
    case N_popitem: return &kMethod<kSelf, N_popitem, popitem, 0>;
    case N_setdefault: return &kMethod<kSelf, N_setdefault, setdefault, 1, 2>;
    case N_update: return &kMethod<kSelf, N_update, update, kOwnCheck>;
    case N_values: return &kMethod<kSelf, N_values, values, 0>;
    default: return nullptr;
  }
}

const Native* dict_type_method(Symbol name) {
  return name == N_fromkeys ? &kTypeFromkeys : dict_method(name);
}

const Native* dict_view_method(Symbol name, View view) {
  if (name == N_mapping) unsupported("the mapping of a dict view");
  if (name != N_isdisjoint || view == View::kValues) return nullptr;
  return view == View::kKeys ? &kMethod<Receiver::kDictKeys, N_isdisjoint, isdisjoint, 1>
                             : &kMethod<Receiver::kDictItems, N_isdisjoint, isdisjoint, 1>;
}

}  // namespace reft
