// a[key], a[key] = value and del a[key], but for slices of lists (list_slices.cpp).
#include "operators/items.hpp"

#include <algorithm>

#include "containers/containers.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

[[noreturn]] void raise_index_too_large(Vm& vm) {
  vm.raise(Exc::kIndexError, "cannot fit 'int' into an index-sized integer");
}

// The index an integer stands for, from the start; IndexError with that text if there is none.
std::uint32_t checked_index(Vm& vm, Value key, std::uint32_t size, const char* error) {
  if (key.is(Kind::kBig)) raise_index_too_large(vm);
  std::int64_t index = key.i < 0 ? key.i + size : key.i;
  if (index < 0 || index >= size) vm.raise(Exc::kIndexError, "%s", error);
  return static_cast<std::uint32_t>(index);
}

[[noreturn]] void raise_key_type(Vm& vm, Value a, Value key) {
  if (key.is(Kind::kForeign)) unsupported("a foreign value as an index");
  const char* name = type_name(key);
  if (a.is(Kind::kStr)) vm.raise_type("string indices must be integers, not '%.200s'", name);
  vm.raise_type("%s indices must be integers or slices, not %.200s", type_name(a), name);
}

Value slice_of_tuple(Vm& vm, Value a, const Slice& slice) {
  const Tuple& tuple = *a.as<Tuple>();
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, tuple.size, start, stop, step);
  if (size == tuple.size && step == 1) return a;
  Tuple* result = make_tuple(vm, nullptr, static_cast<std::uint32_t>(size));
  for (std::int64_t i = 0; i < size; ++i) result->items[i] = tuple.items[start + i * step];
  return Value::object(result);
}

// Every step-th code point of a text beyond ASCII.
Value slice_of_unicode(Vm& vm, const Str& text, std::int64_t start, std::int64_t step,
                       std::int64_t size) {
  vm.charge(text.bytes / 16);
  auto* offsets = vm.arena.array<std::uint32_t>(text.length);
  std::uint32_t offset = 0;
  for (std::uint32_t i = 0; i < text.length; ++i) {
    offsets[i] = offset;
    offset += utf8_length(static_cast<unsigned char>(text.data[offset]));
  }
  TextBuilder result(vm);
  for (std::int64_t i = 0; i < size; ++i) {
    result.append_code_point(decode_utf8(text.data + offsets[start + i * step]));
  }
  return result.finish();
}

Value slice_of_text(Vm& vm, const Str& text, const Slice& slice) {
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, text.length, start, stop, step);
  if (size == 0) return make_str(vm, "");
  if (step == 1) {
    return substring(vm, text, static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(stop));
  }
  if (!text.ascii()) return slice_of_unicode(vm, text, start, step, size);
  auto length = static_cast<std::uint32_t>(size);
  vm.charge(length / 16);
  char* data;
  Value result = new_str(vm, length, length, data);
  for (std::int64_t i = 0; i < size; ++i) data[i] = text.data[start + i * step];
  return result;
}

// Of a range with `index` up to its size: the end too has a number.
std::int64_t number_at(const Range& range, std::int64_t index) {
  std::int64_t number;
  if (__builtin_mul_overflow(index, range.step, &number) ||
      __builtin_add_overflow(number, range.start, &number)) {
    unsupported("a range beyond 64 bits");
  }
  return number;
}

Value slice_of_range(Vm& vm, const Range& range, const Slice& slice) {
  if (slice.step.is(Kind::kBig)) unsupported("a range beyond 64 bits");
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, range.size, start, stop, step);
  auto* result = vm.make<Range>(Kind::kRange);
  result->start = number_at(range, start);
  result->stop = number_at(range, stop);
  if (__builtin_mul_overflow(range.step, step, &result->step)) {
    unsupported("a range beyond 64 bits");
  }
  result->size = size;
  return Value::object(result);
}

Value item_of_range(Vm& vm, const Range& range, Value key) {
  constexpr const char* kError = "range object index out of range";
  if (key.is(Kind::kBig)) vm.raise(Exc::kIndexError, kError);
  std::int64_t index = key.i < 0 ? key.i + range.size : key.i;
  if (index < 0 || index >= range.size) vm.raise(Exc::kIndexError, kError);
  // The product may leave 64 bits; the number itself does not.
  return Value::integer(static_cast<std::int64_t>(static_cast<std::uint64_t>(range.start) +
                                                  static_cast<std::uint64_t>(index) *
                                                      static_cast<std::uint64_t>(range.step)));
}

Value item_at(Vm& vm, Value a, Value key) {
  switch (a.kind) {
    case Kind::kStr: {
      const Str& text = *a.as<Str>();
      return char_at(vm, text, checked_index(vm, key, text.length, "string index out of range"));
    }
    case Kind::kTuple: {
      const Tuple& tuple = *a.as<Tuple>();
      return tuple.items[checked_index(vm, key, tuple.size, "tuple index out of range")];
    }
    default: return item_of_range(vm, *a.as<Range>(), key);
  }
}

Value slice_of(Vm& vm, Value a, const Slice& slice) {
  switch (a.kind) {
    case Kind::kStr: return slice_of_text(vm, *a.as<Str>(), slice);
    case Kind::kTuple: return slice_of_tuple(vm, a, slice);
    default: return slice_of_range(vm, *a.as<Range>(), slice);
  }
}

Value get_from_dict(Vm& vm, Dict& dict, Value key) {
  Value value = dict_get(vm, dict, key);
  if (value.is_unbound()) vm.raise_with(Exc::kKeyError, key);
  return value;
}

// Of a value whose items are fixed, or that has none.
[[noreturn]] void raise_fixed(Vm& vm, Value a, Value key, bool deletion) {
  if (a.is(Kind::kForeign)) unsupported("an item of a foreign value");
  bool collection = a.is(Kind::kStr) || a.is(Kind::kTuple) || a.is(Kind::kRange) ||
                    a.is(Kind::kSet) || a.is(Kind::kDictView);
  if (collection && key.is(Kind::kBig)) raise_index_too_large(vm);
  if (!deletion) vm.raise_type("'%.200s' object does not support item assignment", type_name(a));
  vm.raise_type("'%.200s' object %s item deletion", type_name(a),
                collection && key.is_int() ? "doesn't support" : "does not support");
}

}  // namespace

Value get_item(Vm& vm, Value a, Value key) {
  switch (a.kind) {
    case Kind::kList: {
      List& list = *a.as<List>();
      if (key.is_int()) {
        return list.items[checked_index(vm, key, list.size, "list index out of range")];
      }
      if (key.is(Kind::kSlice)) return slice_of_list(vm, list, *key.as<Slice>());
      raise_key_type(vm, a, key);
    }
    case Kind::kDict: return get_from_dict(vm, *a.as<Dict>(), key);
    case Kind::kStr:
    case Kind::kTuple:
    case Kind::kRange:
      if (key.is_int()) return item_at(vm, a, key);
      if (key.is(Kind::kSlice)) return slice_of(vm, a, *key.as<Slice>());
      raise_key_type(vm, a, key);
    case Kind::kType: unsupported("a subscript of a type");
    case Kind::kForeign: unsupported("an item of a foreign value");
    default: vm.raise_type("'%.200s' object is not subscriptable", type_name(a));
  }
}

void set_item(Vm& vm, Value a, Value key, Value value) {
  if (a.is(Kind::kDict)) return dict_set(vm, *a.as<Dict>(), key, value);
  if (!a.is(Kind::kList)) raise_fixed(vm, a, key, false);
  List& list = *a.as<List>();
  if (key.is(Kind::kSlice)) return assign_slice(vm, list, *key.as<Slice>(), value);
  if (!key.is_int()) raise_key_type(vm, a, key);
  list.items[checked_index(vm, key, list.size, "list assignment index out of range")] = value;
}

void del_item(Vm& vm, Value a, Value key) {
  if (a.is(Kind::kDict)) {
    if (!dict_delete(vm, *a.as<Dict>(), key)) vm.raise_with(Exc::kKeyError, key);
    return;
  }
  if (!a.is(Kind::kList)) raise_fixed(vm, a, key, true);
  List& list = *a.as<List>();
  if (key.is(Kind::kSlice)) return delete_slice(vm, list, *key.as<Slice>());
  if (!key.is_int()) raise_key_type(vm, a, key);
  std::uint32_t index = checked_index(vm, key, list.size, "list assignment index out of range");
  vm.charge((list.size - index) / 4);
  std::copy(list.items + index + 1, list.items + list.size, list.items + index);
  --list.size;
}

}  // namespace reft
