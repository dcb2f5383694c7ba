#include "containers/native_method.hpp"

#include <cstdio>

#include "operators/operators.hpp"

namespace reft {
namespace {

const char* receiver_name(Receiver receiver) {
  switch (receiver) {
    case Receiver::kList: return "list";
    case Receiver::kTuple: return "tuple";
    case Receiver::kRange: return "range";
    case Receiver::kDict: return "dict";
    case Receiver::kSet: return "set";
    case Receiver::kFrozenset: return "frozenset";
    case Receiver::kDictKeys: return "dict_keys";
    case Receiver::kDictItems: return "dict_items";
  }
  return "?";
}

bool is_receiver(Value self, Receiver receiver) {
  switch (receiver) {
    case Receiver::kList: return self.is(Kind::kList);
    case Receiver::kTuple: return self.is(Kind::kTuple);
    case Receiver::kRange: return self.is(Kind::kRange);
    case Receiver::kDict: return self.is(Kind::kDict);
    case Receiver::kSet: return self.is(Kind::kSet) && !self.as<Set>()->frozen;
    case Receiver::kFrozenset: return self.is(Kind::kSet) && self.as<Set>()->frozen;
    case Receiver::kDictKeys:
      return self.is(Kind::kDictView) && self.as<DictView>()->view == View::kKeys;
    case Receiver::kDictItems:
      return self.is(Kind::kDictView) && self.as<DictView>()->view == View::kItems;
  }
  return false;
}

}  // namespace

void check_receiver(Vm& vm, const Args& args, Receiver receiver, Symbol name) {
  if (args.count != 0 && is_receiver(args[0], receiver)) return;
  std::string_view text = vm.symbol_text(name);
  int size = static_cast<int>(text.size());
  const char* type = receiver_name(receiver);
  if (args.count == 0) {
    vm.raise_type("unbound method %s.%.*s() needs an argument", type, size, text.data());
  }
  if (args[0].is(Kind::kForeign)) unsupported("a foreign value as the object of a method");
  vm.raise_type("descriptor '%.*s' for '%s' objects doesn't apply to a '%s' object", size,
                text.data(), type, type_name(args[0]));
}

void check_arguments(Vm& vm, const Args& args, Receiver receiver, Symbol name, std::uint32_t least,
                     std::uint32_t most) {
  std::string_view text = vm.symbol_text(name);
  char qualified[80];
  std::snprintf(qualified, sizeof qualified, "%s.%.*s", receiver_name(receiver),
                static_cast<int>(text.size()), text.data());
  expect_no_keywords(vm, args, qualified);
  // CPython names the type only where the number of arguments is checked before the call.
  const char* short_name = qualified + std::string_view(qualified).find('.') + 1;
  expect_method(vm, args, least == most && most <= 1 ? qualified : short_name, least, most);
}

}  // namespace reft
