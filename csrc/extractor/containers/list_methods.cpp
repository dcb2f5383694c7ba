// Methods of lists.
#include <algorithm>

#include "containers/container_methods.hpp"
#include "containers/containers.hpp"
#include "containers/native_method.hpp"
#include "containers/sequence_search.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

List& self(const Args& args) { return *args[0].as<List>(); }

Value append(Vm& vm, const Args& args) {
  list_push(vm, self(args), args[1]);
  return Value::none();
}

Value clear(Vm&, const Args& args) {
  self(args).size = 0;
  return Value::none();
}

Value copy(Vm& vm, const Args& args) {
  return Value::object(make_list(vm, self(args).items, self(args).size));
}

Value count(Vm& vm, const Args& args) {
  return Value::integer(count_equal(vm, self(args).items, self(args).size, args[1]));
}

Value extend(Vm& vm, const Args& args) {
  list_extend(vm, self(args), args[1]);
  return Value::none();
}

Value index(Vm& vm, const Args& args) {
  const List& list = self(args);
  std::int64_t found = find_equal(vm, list.items, search_bounds(vm, args, list.size), args[1]);
  if (found >= 0) return Value::integer(found);
  TextBuilder message(vm);
  message.append(repr(vm, args[1]).as<Str>()->view());
  message.append(" is not in list");
  vm.raise_with(Exc::kValueError, message.finish());
}

Value insert(Vm& vm, const Args& args) {
  list_insert(vm, self(args), index_argument(vm, args[1]), args[2]);
  return Value::none();
}

Value pop(Vm& vm, const Args& args) {
  List& list = self(args);
  if (args.count == 1 && list.size != 0) return list.items[--list.size];
  std::int64_t index = args.count > 1 ? index_argument(vm, args[1]) : -1;
  if (list.size == 0) vm.raise(Exc::kIndexError, "pop from empty list");
  if (index < 0) index += list.size;
  if (index < 0 || index >= list.size) vm.raise(Exc::kIndexError, "pop index out of range");
  Value item = list.items[index];
  auto at = static_cast<std::uint32_t>(index);
  list_splice(vm, list, at, at + 1, nullptr, 0);
  return item;
}

Value remove(Vm& vm, const Args& args) {
  List& list = self(args);
  std::int64_t found = find_equal(vm, list.items, {0, list.size}, args[1]);
  if (found < 0) vm.raise(Exc::kValueError, "list.remove(x): x not in list");
  auto at = static_cast<std::uint32_t>(found);
  list_splice(vm, list, at, at + 1, nullptr, 0);
  return Value::none();
}

Value reverse(Vm& vm, const Args& args) {
  List& list = self(args);
  vm.charge(list.size / 8);
  std::reverse(list.items, list.items + list.size);
  return Value::none();
}

Value sort(Vm& vm, const Args& args) {
  std::uint32_t given = args.count - 1 + args.keyword_count;
  if (args.count > 1 && given > 2) {
    vm.raise_type("sort() takes at most 2 arguments (%u given)", given);
  }
  if (args.count > 1) vm.raise_type("sort() takes no positional arguments");
  sort_with_keywords(vm, self(args), args);
  return Value::none();
}

}  // namespace

void sort_with_keywords(Vm& vm, List& list, const Args& args) {
  if (args.keyword_count > 2) {
    vm.raise_type("sort() takes at most 2 keyword arguments (%u given)", args.keyword_count);
  }
  expect_keywords(vm, args, "sort", {N_key, N_reverse});
  const Value* key = args.keyword(N_key);
  const Value* reverse = args.keyword(N_reverse);
  std::int64_t reversed = 0;
  if (reverse != nullptr) {
    reversed = reverse->is(Kind::kBig) ? INT64_MAX : index_argument(vm, *reverse);
    if (reversed != static_cast<std::int32_t>(reversed)) {
      vm.raise(Exc::kOverflowError, "Python int too large to convert to C int");
    }
  }
  list_sort(vm, list, key == nullptr ? Value::none() : *key, reversed != 0);
}

const Native* list_method(Symbol name) {
  constexpr Receiver kSelf = Receiver::kList;
  switch (name) {
    case N_append: return &kMethod<kSelf, N_append, append, 1>;
    case N_clear: return &kMethod<kSelf, N_clear, clear, 0>;
    case N_copy: return &kMethod<kSelf, N_copy, copy, 0>;
    case N_count: return &kMethod<kSelf, N_count, count, 1>;
    case N_extend: return &kMethod<kSelf, N_extend, extend, 1>;
    case N_index: return &kMethod<kSelf, N_index, index, 1, 3>;
    case N_insert: return &kMethod<kSelf, N_insert, insert, 2>;
    case N_pop: return &kMethod<kSelf, N_pop, pop, 0, 1>;
    case N_remove: return &kMethod<kSelf, N_remove, remove, 1>;
    case N_reverse: return &kMethod<kSelf, N_reverse, reverse, 0>;
    case N_sort: return &kMethod<kSelf, N_sort, sort, kOwnCheck>;
    default: return nullptr;
  }
}

}  // namespace reft
