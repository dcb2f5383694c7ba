// How the methods of str take their arguments, with CPython's messages.
#include <algorithm>
#include <climits>

#include "operators/operators.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

[[noreturn]] void raise_no_self(Vm& vm, const Args& args, const char* name) {
  if (args.count == 0) vm.raise_type("unbound method str.%s() needs an argument", name);
  if (args[0].is(Kind::kForeign)) unsupported("a method of str on a foreign value");
  vm.raise_type("descriptor '%s' for 'str' objects doesn't apply to a '%s' object", name,
                type_name(args[0]));
}

void refuse_keywords(Vm& vm, const Args& args, const char* name) {
  if (args.keyword_count != 0) vm.raise_type("str.%s() takes no keyword arguments", name);
}

const char* plural(std::size_t count) { return count == 1 ? "" : "s"; }

[[noreturn]] void raise_unknown_keyword(Vm& vm, Symbol keyword, const char* name) {
  std::string_view text = vm.symbol_text(keyword);
  vm.raise_type("'%.*s' is an invalid keyword argument for %s()", static_cast<int>(text.size()),
                text.data(), name);
}

// A bound of a window; `absent` if it is not given.
std::int64_t bound(Vm& vm, const Args& args, std::uint32_t i, std::int64_t absent) {
  if (i >= args.count || args[i].is_none()) return absent;
  if (!args[i].is_int() && !args[i].is(Kind::kForeign)) {
    vm.raise_type("slice indices must be integers or None or have an __index__ method");
  }
  return clamped_index(vm, args[i]);
}

}  // namespace

const Str& self_argument(Vm& vm, const Args& args, const char* name) {
  if (args.count == 0 || !args[0].is(Kind::kStr)) raise_no_self(vm, args, name);
  return *args[0].as<Str>();
}

const Str& no_argument(Vm& vm, const Args& args, const char* name) {
  const Str& self = self_argument(vm, args, name);
  refuse_keywords(vm, args, name);
  if (args.count != 1) {
    vm.raise_type("str.%s() takes no arguments (%u given)", name, args.count - 1);
  }
  return self;
}

const Str& one_argument(Vm& vm, const Args& args, const char* name) {
  const Str& self = self_argument(vm, args, name);
  refuse_keywords(vm, args, name);
  if (args.count != 2) {
    vm.raise_type("str.%s() takes exactly one argument (%u given)", name, args.count - 1);
  }
  return self;
}

const Str& some_arguments(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                          std::uint32_t most) {
  const Str& self = self_argument(vm, args, name);
  refuse_keywords(vm, args, name);
  std::uint32_t count = args.count - 1;
  if (count < least) {
    vm.raise_type("%s expected at least %u argument%s, got %u", name, least, plural(least), count);
  }
  if (count > most) {
    vm.raise_type("%s expected at most %u argument%s, got %u", name, most, plural(most), count);
  }
  return self;
}

const Str& named_arguments(Vm& vm, const Args& args, const char* name,
                           std::initializer_list<Symbol> names, Value* values) {
  const Str& self = self_argument(vm, args, name);
  std::uint32_t given = args.count - 1 + args.keyword_count;
  if (given > names.size()) {
    vm.raise_type("%s() takes at most %zu %sargument%s (%u given)", name, names.size(),
                  args.count == 1 ? "keyword " : "", plural(names.size()), given);
  }
  std::uint32_t i = 0;
  std::uint32_t used = 0;
  for (Symbol symbol : names) {
    const Value* keyword = args.keyword_count == 0 ? nullptr : args.keyword(symbol);
    bool by_position = ++i < args.count;
    if (by_position && keyword != nullptr) {
      std::string_view text = name_text(symbol);
      vm.raise_type("argument for %s() given by name ('%.*s') and position (%u)", name,
                    static_cast<int>(text.size()), text.data(), i);
    }
    if (keyword != nullptr) ++used;
    values[i - 1] = by_position ? args[i] : keyword != nullptr ? *keyword : Value::unbound();
  }
  for (std::uint32_t k = 0; used != args.keyword_count && k < args.keyword_count; ++k) {
    Symbol keyword = args.keywords[k].name;
    if (std::find(names.begin(), names.end(), keyword) == names.end()) {
      raise_unknown_keyword(vm, keyword, name);
    }
  }
  return self;
}

void raise_not_str(Vm& vm, const char* format, const char* name, Value value) {
  if (value.is(Kind::kForeign)) unsupported("a foreign value where a str is expected");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  vm.raise_type(format, name, type_name(value));
#pragma GCC diagnostic pop
}

const Str& str_argument(Vm& vm, Value value) {
  if (value.is(Kind::kStr)) return *value.as<Str>();
  raise_not_str(vm, "%smust be str, not %s", "", value);
}

int int_argument(Vm& vm, Value value) {
  std::int64_t i = value.is(Kind::kBig) ? INT64_MAX : index_argument(vm, value);
  if (i < INT_MIN || i > INT_MAX) {
    vm.raise(Exc::kOverflowError, "Python int too large to convert to C int");
  }
  return static_cast<int>(i);
}

Window search_window(Vm& vm, const Args& args, const char* name) {
  const Str& self = self_argument(vm, args, name);
  refuse_keywords(vm, args, name);
  std::uint32_t given = args.count - 1;
  if (given == 0) vm.raise_type("%s() takes at least 1 argument (0 given)", name);
  if (given > 3) vm.raise_type("%s() takes at most 3 arguments (%u given)", name, given);
  std::int64_t length = self.length;
  if (given == 1) return {self.view(), 0, length};
  std::int64_t start = bound(vm, args, 2, 0);
  std::int64_t end = bound(vm, args, 3, length);
  if (end < 0) end = std::max<std::int64_t>(end + length, 0);
  if (start < 0) start = std::max<std::int64_t>(start + length, 0);
  end = std::min(end, length);
  if (start > end) return {{}, 0, -1};
  auto first = static_cast<std::uint32_t>(start);
  std::uint32_t from = byte_offset(vm, self, first);
  std::uint32_t to = byte_offset(vm, self, static_cast<std::uint32_t>(end));
  return {self.view().substr(from, to - from), first, end - start};
}

}  // namespace reft
