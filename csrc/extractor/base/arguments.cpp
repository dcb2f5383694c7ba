#include <initializer_list>

#include "base/vm.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

const char* plural(std::uint32_t count) { return count == 1 ? "" : "s"; }

void check_count(Vm& vm, const char* name, std::uint32_t count, std::uint32_t least,
                 std::uint32_t most) {
  if (count >= least && count <= most) return;
  if (least == most) {
    if (most == 0) vm.raise_type("%s() takes no arguments (%u given)", name, count);
    if (most == 1) vm.raise_type("%s() takes exactly one argument (%u given)", name, count);
    vm.raise_type("%s expected %u arguments, got %u", name, most, count);
  }
  if (count < least) {
    vm.raise_type("%s expected at least %u argument%s, got %u", name, least, plural(least), count);
  }
  vm.raise_type("%s expected at most %u argument%s, got %u", name, most, plural(most), count);
}

}  // namespace

void expect_count(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                  std::uint32_t most) {
  check_count(vm, name, args.count, least, most);
}

void expect_no_keywords(Vm& vm, const Args& args, const char* name) {
  if (args.keyword_count != 0) vm.raise_type("%s() takes no keyword arguments", name);
}

void expect_method(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                   std::uint32_t most) {
  expect_no_keywords(vm, args, name);
  check_count(vm, name, args.count - 1, least, most);
}

void expect_at_most(Vm& vm, const Args& args, const char* name, std::uint32_t most) {
  std::uint32_t given = args.count + args.keyword_count;
  if (given <= most) return;
  vm.raise_type("%s() takes at most %u %sargument%s (%u given)", name, most,
                args.count == 0 ? "keyword " : "", most == 1 ? "" : "s", given);
}

void expect_keywords(Vm& vm, const Args& args, const char* name,
                     std::initializer_list<Symbol> known) {
  for (std::uint32_t i = 0; i < args.keyword_count; ++i) {
    bool found = false;
    for (Symbol symbol : known) found = found || args.keywords[i].name == symbol;
    if (!found) {
      std::string_view text = vm.symbol_text(args.keywords[i].name);
      vm.raise_type("'%.*s' is an invalid keyword argument for %s()", static_cast<int>(text.size()),
                    text.data(), name);
    }
  }
}

std::int64_t index_argument(Vm& vm, Value value) {
  if (value.is_small_int()) return value.i;
  if (value.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "Python int too large to convert to C ssize_t");
  }
  if (value.is(Kind::kForeign)) unsupported("a foreign value as an index");
  vm.raise_type("'%s' object cannot be interpreted as an integer", type_name(value));
}

std::int64_t clamped_index(Vm& vm, Value value) {
  if (value.is(Kind::kBig)) return value.as<Big>()->negative ? INT64_MIN : INT64_MAX;
  return index_argument(vm, value);
}

}  // namespace reft
