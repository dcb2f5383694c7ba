// iter() and next() of the built-in containers. An iterator notices what CPython's notices: a list
// that has grown, a dict or set that has changed its size.
#include "containers/iterate.hpp"

#include "containers/containers.hpp"
#include "containers/iterators.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

bool next_of_list(Vm&, Iterator& self, Value& out) {
  if (self.a.is_unbound()) return false;
  const List& list = *self.a.as<List>();
  if (self.i < list.size) {
    out = list.items[self.i++];
    return true;
  }
  self.a = Value::unbound();  // items appended from now on are not seen
  return false;
}

bool next_of_tuple(Vm&, Iterator& self, Value& out) {
  const Tuple& tuple = *self.a.as<Tuple>();
  if (self.i >= tuple.size) return false;
  out = tuple.items[self.i++];
  return true;
}

// `i` is the next item, `n` the number of items left.
bool next_of_range(Vm&, Iterator& self, Value& out) {
  if (self.n == 0) return false;
  out = Value::integer(self.i);
  if (--self.n != 0) self.i += self.step;  // stays inside the range, so does not overflow
  return true;
}

// `i` is a byte offset.
bool next_of_str(Vm& vm, Iterator& self, Value& out) {
  const Str& text = *self.a.as<Str>();
  if (self.i >= text.bytes) return false;
  const char* at = text.data + self.i;
  self.i += utf8_length(static_cast<unsigned char>(*at));
  out = make_str(vm, decode_utf8(at));
  return true;
}

// ---- dicts and sets
//
// `n` is the size at the start, -1 after an error (which then repeats). A dict of the same size
// with other keys (some deleted, as many added) is walked by CPython in a way that depends on when
// it moves its entries; `b` remembers how many changes there had been.

void watch_dict(Iterator& self, const Dict& dict) {
  self.n = dict.size;
  self.b = Value::integer(dict.changes);
}

void check_dict(Vm& vm, Iterator& self, const Dict& dict) {
  if (self.n != dict.size) {
    self.n = -1;
    vm.raise(Exc::kRuntimeError, "dictionary changed size during iteration");
  }
  if (self.b.i != dict.changes) unsupported("a dict whose keys change while it is iterated");
}

template <View kView>
Value part_of(Vm& vm, const DictEntry& entry) {
  if (kView == View::kKeys) return entry.key;
  if (kView == View::kValues) return entry.value;
  Value pair[2] = {entry.key, entry.value};
  return Value::object(make_tuple(vm, pair, 2));
}

template <View kView>
bool next_of_dict(Vm& vm, Iterator& self, Value& out) {
  if (self.a.is_unbound()) return false;
  const Dict& dict = *self.a.as<Dict>();
  check_dict(vm, self, dict);
  auto position = static_cast<std::uint32_t>(self.i);
  DictEntry* entry;
  const bool found = dict_next(dict, position, entry);
  self.i = position;
  if (found) out = part_of<kView>(vm, *entry);
  else self.a = Value::unbound();
  return found;
}

// `i` is the number of entries not yet visited.
template <View kView>
bool previous_of_dict(Vm& vm, Iterator& self, Value& out) {
  if (self.a.is_unbound()) return false;
  const Dict& dict = *self.a.as<Dict>();
  check_dict(vm, self, dict);
  auto position = static_cast<std::uint32_t>(self.i);
  DictEntry* entry;
  const bool found = dict_previous(vm, dict, position, entry);
  self.i = position;
  if (found) out = part_of<kView>(vm, *entry);
  else self.a = Value::unbound();
  return found;
}

bool next_of_set(Vm& vm, Iterator& self, Value& out) {
  if (self.a.is_unbound()) return false;
  const Set& set = *self.a.as<Set>();
  if (self.n != set.used) {
    self.n = -1;
    vm.raise(Exc::kRuntimeError, "Set changed size during iteration");
  }
  auto position = static_cast<std::uint32_t>(self.i);
  bool found = set_next(vm, set, position, out);
  self.i = position;
  if (!found) self.a = Value::unbound();
  return found;
}

Value iterate_dict(Vm& vm, Dict& dict, View view) {
  Value a = Value::object(&dict);
  Iterator* iterator = view == View::kKeys
                           ? new_iterator(vm, next_of_dict<View::kKeys>, "dict_keyiterator", a)
                       : view == View::kValues
                           ? new_iterator(vm, next_of_dict<View::kValues>, "dict_valueiterator", a)
                           : new_iterator(vm, next_of_dict<View::kItems>, "dict_itemiterator", a);
  watch_dict(*iterator, dict);
  return Value::object(iterator);
}

Value iterate_range(Vm& vm, std::int64_t start, std::int64_t step, std::int64_t size) {
  Iterator* iterator = new_iterator(vm, next_of_range, "range_iterator", Value::unbound());
  iterator->i = start;
  iterator->step = step;
  iterator->n = size;
  return Value::object(iterator);
}

// ---- backwards

bool previous_of_list(Vm&, Iterator& self, Value& out) {
  if (self.a.is_unbound()) return false;
  const List& list = *self.a.as<List>();
  if (self.i > 0 && self.i <= list.size) {
    out = list.items[--self.i];
    return true;
  }
  self.a = Value::unbound();
  return false;
}

bool previous_of_tuple(Vm&, Iterator& self, Value& out) {
  if (self.i == 0) return false;
  out = self.a.as<Tuple>()->items[--self.i];
  return true;
}

bool previous_of_str(Vm& vm, Iterator& self, Value& out) {
  if (self.i == 0) return false;
  const char* data = self.a.as<Str>()->data;
  do --self.i;
  while ((static_cast<unsigned char>(data[self.i]) & 0xC0) == 0x80);
  out = make_str(vm, decode_utf8(data + self.i));
  return true;
}

Value reverse_sized(Vm& vm, NextFn next, const char* type_name, Value a, std::int64_t size) {
  Iterator* iterator = new_iterator(vm, next, type_name, a);
  iterator->i = size;
  return Value::object(iterator);
}

Value reverse_range(Vm& vm, const Range& range) {
  if (range.size == 0) return iterate_range(vm, range.start, range.step, 0);
  if (range.step == INT64_MIN) unsupported("a range whose step is -2**63, reversed");
  // The last item fits 64 bits; the product on the way to it may not.
  std::uint64_t last =
      static_cast<std::uint64_t>(range.start) +
      static_cast<std::uint64_t>(range.size - 1) * static_cast<std::uint64_t>(range.step);
  return iterate_range(vm, static_cast<std::int64_t>(last), -range.step, range.size);
}

Value reverse_dict(Vm& vm, Dict& dict, View view) {
  Value a = Value::object(&dict);
  Iterator* iterator =
      view == View::kKeys
          ? new_iterator(vm, previous_of_dict<View::kKeys>, "dict_reversekeyiterator", a)
      : view == View::kValues
          ? new_iterator(vm, previous_of_dict<View::kValues>, "dict_reversevalueiterator", a)
          : new_iterator(vm, previous_of_dict<View::kItems>, "dict_reverseitemiterator", a);
  watch_dict(*iterator, dict);
  iterator->i = dict.used;
  return Value::object(iterator);
}

}  // namespace

Iterator* new_iterator(Vm& vm, NextFn next, const char* type_name, Value a) {
  auto* iterator = vm.make<Iterator>(Kind::kIterator);
  iterator->next = next;
  iterator->type_name = type_name;
  iterator->a = a;
  iterator->b = iterator->c = Value::unbound();
  iterator->i = iterator->n = iterator->step = 0;
  return iterator;
}

bool is_iterable(Value a) {
  switch (a.kind) {
    case Kind::kList:
    case Kind::kRange:
    case Kind::kTuple:
    case Kind::kStr:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kSet:
    case Kind::kIterator:
    case Kind::kGenerator:
    case Kind::kForeign: return true;
    default: return false;
  }
}

Value iterate(Vm& vm, Value a) {
  switch (a.kind) {
    case Kind::kList: return Value::object(new_iterator(vm, next_of_list, "list_iterator", a));
    case Kind::kRange: {
      const Range& range = *a.as<Range>();
      return iterate_range(vm, range.start, range.step, range.size);
    }
    case Kind::kTuple: return Value::object(new_iterator(vm, next_of_tuple, "tuple_iterator", a));
    case Kind::kStr: {
      bool ascii = a.as<Str>()->ascii();
      const char* type_name = ascii ? "str_ascii_iterator" : "str_iterator";
      return Value::object(new_iterator(vm, next_of_str, type_name, a));
    }
    case Kind::kDict: return iterate_dict(vm, *a.as<Dict>(), View::kKeys);
    case Kind::kDictView: return iterate_dict(vm, *a.as<DictView>()->dict, a.as<DictView>()->view);
    case Kind::kSet: {
      Iterator* iterator = new_iterator(vm, next_of_set, "set_iterator", a);
      iterator->n = a.as<Set>()->used;
      return Value::object(iterator);
    }
    case Kind::kIterator:
    case Kind::kGenerator: return a;
    case Kind::kForeign: unsupported(a.as<Foreign>()->what);
    default: vm.raise_type("'%s' object is not iterable", type_name(a));
  }
}

bool advance(Vm& vm, Value iterator, Value& out) {
  if (iterator.is(Kind::kGenerator)) {
    return resume(vm, *iterator.as<Generator>(), Value::none(), out);
  }
  vm.step();
  Iterator& self = *iterator.as<Iterator>();
  return self.next(vm, self, out);
}

Value make_reversed(Vm& vm, Value sequence) {
  switch (sequence.kind) {
    case Kind::kList:
      return reverse_sized(vm, previous_of_list, "list_reverseiterator", sequence,
                           sequence.as<List>()->size);
    case Kind::kTuple:
      return reverse_sized(vm, previous_of_tuple, "reversed", sequence, sequence.as<Tuple>()->size);
    case Kind::kStr:
      return reverse_sized(vm, previous_of_str, "reversed", sequence, sequence.as<Str>()->bytes);
    case Kind::kRange: return reverse_range(vm, *sequence.as<Range>());
    case Kind::kDict: return reverse_dict(vm, *sequence.as<Dict>(), View::kKeys);
    case Kind::kDictView:
      return reverse_dict(vm, *sequence.as<DictView>()->dict, sequence.as<DictView>()->view);
    case Kind::kForeign: unsupported(sequence.as<Foreign>()->what);
    default: vm.raise_type("'%s' object is not reversible", type_name(sequence));
  }
}

}  // namespace reft
