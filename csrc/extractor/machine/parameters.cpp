// Arguments to parameters, as CPython's calls bind them, with its TypeErrors.
#include <algorithm>

#include "containers/containers.hpp"
#include "machine/machine.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

// `by_name`: how many keyword-only arguments are given.
[[noreturn]] void too_many(Vm& vm, const Code& code, const Function& function, std::uint32_t count,
                           std::uint32_t by_name) {
  std::string_view name = qualified_name(vm, code);
  std::uint32_t defaults = function.defaults == nullptr ? 0 : function.defaults->size;
  char least[24] = "";
  char named[80] = "";
  if (defaults > 0) std::snprintf(least, sizeof least, "from %u to ", code.positional - defaults);
  if (by_name > 0) {
    std::snprintf(named, sizeof named, " positional argument%s (and %u keyword-only argument%s)",
                  count == 1 ? "" : "s", by_name, by_name == 1 ? "" : "s");
  }
  vm.raise_type("%.*s() takes %s%u positional argument%s but %u%s %s given",
                static_cast<int>(name.size()), name.data(), least, code.positional,
                code.positional == 1 && defaults == 0 ? "" : "s", count, named,
                count == 1 && by_name == 0 ? "was" : "were");
}

[[noreturn]] void wrong_keyword(Vm& vm, const Code& code, Symbol keyword, const char* format) {
  std::string_view name = qualified_name(vm, code);
  std::string_view text = vm.symbol_text(keyword);
  char message[512];
  std::snprintf(message, sizeof message, format,
                static_cast<int>(std::min<std::size_t>(name.size(), 200)), name.data(),
                static_cast<int>(std::min<std::size_t>(text.size(), 200)), text.data());
  vm.raise_type("%s", message);
}

// "missing 2 required positional arguments: 'a' and 'b'"
[[noreturn]] void missing(Vm& vm, const Code& code, const char* kind, const Symbol* names,
                          const std::uint32_t* slots, std::uint32_t count, const Value* locals) {
  std::uint32_t absent = 0;
  for (std::uint32_t i = 0; i < count; ++i) absent += locals[slots[i]].is_unbound() ? 1u : 0u;
  TextBuilder list(vm);
  std::uint32_t seen = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!locals[slots[i]].is_unbound()) continue;
    if (seen > 0) list.append(seen + 1 < absent ? ", " : absent > 2 ? ", and " : " and ");
    list.append('\'');
    list.append(vm.symbol_text(names[i]));
    list.append('\'');
    ++seen;
  }
  std::string_view name = qualified_name(vm, code);
  vm.raise_type("%.*s() missing %u required %s argument%s: %.*s", static_cast<int>(name.size()),
                name.data(), absent, kind, absent == 1 ? "" : "s", static_cast<int>(list.size()),
                list.view().data());
}

}  // namespace

void Machine::bind_keywords(const Code& code, const Args& args, Dict* rest) {
  for (std::uint32_t k = 0; k < args.keyword_count; ++k) {
    const Keyword& keyword = args.keywords[k];
    std::uint32_t count = code.positional + code.keyword_only;
    vm.charge(count / 16 + 1);
    std::uint32_t i = code.positional_only;
    while (i < count && code.param_names[i] != keyword.name) ++i;
    if (i < count) {
      if (!locals[code.param_slots[i]].is_unbound()) {
        wrong_keyword(vm, code, keyword.name, "%.*s() got multiple values for argument '%.*s'");
      }
      locals[code.param_slots[i]] = keyword.value;
    } else if (rest != nullptr) {
      dict_set(vm, *rest, borrow_str(vm, vm.symbol_text(keyword.name)), keyword.value);
    } else {
      for (std::uint32_t p = 0; p < code.positional_only; ++p) {
        if (code.param_names[p] == keyword.name) unsupported("a positional-only argument by name");
      }
      wrong_keyword(vm, code, keyword.name, "%.*s() got an unexpected keyword argument '%.*s'");
    }
  }
}

void Machine::bind_defaults(const Code& code, const Function& function) {
  std::uint32_t defaults = function.defaults == nullptr ? 0 : function.defaults->size;
  std::uint32_t required = code.positional - defaults;
  for (std::uint32_t i = 0; i < required; ++i) {
    if (locals[code.param_slots[i]].is_unbound()) {
      missing(vm, code, "positional", code.param_names, code.param_slots, required, locals);
    }
  }
  for (std::uint32_t i = required; i < code.positional; ++i) {
    Value& local = locals[code.param_slots[i]];
    if (local.is_unbound()) local = function.defaults->items[i - required];
  }
  bool absent = false;
  for (std::uint32_t i = code.positional; i < code.positional + code.keyword_only; ++i) {
    Value& local = locals[code.param_slots[i]];
    if (local.is_unbound() && function.kw_defaults != nullptr) {
      local = dict_get(vm, *function.kw_defaults, Value::integer(code.param_names[i]));
    }
    absent = absent || local.is_unbound();
  }
  if (absent) {
    missing(vm, code, "keyword-only", code.param_names + code.positional,
            code.param_slots + code.positional, code.keyword_only, locals);
  }
}

void Machine::make_cells(const Code& code) {
  for (std::uint32_t i = 0; i < code.cell_count; ++i) {
    auto* cell = vm.make<Cell>(Kind::kCell);
    cell->value = locals[code.cell_slots[i]];
    locals[code.cell_slots[i]] = Value::object(cell);
  }
}

void Machine::bind(const Code& code, const Function& function, const Args& args) {
  std::uint32_t given = std::min(args.count, code.positional);
  for (std::uint32_t i = 0; i < given; ++i) locals[code.param_slots[i]] = args[i];
  const std::uint32_t* extra_slots = code.param_slots + code.positional + code.keyword_only;
  Dict* rest = code.has_varkeywords ? make_dict(vm) : nullptr;
  bind_keywords(code, args, rest);
  if (args.count > given && !code.has_varargs) {
    std::uint32_t by_name = 0;
    for (std::uint32_t i = code.positional; i < code.positional + code.keyword_only; ++i) {
      if (!locals[code.param_slots[i]].is_unbound()) ++by_name;
    }
    too_many(vm, code, function, args.count, by_name);
  }
  bind_defaults(code, function);
  if (code.has_varargs) {
    std::uint32_t extra = args.count - given;
    vm.charge(extra / 16 + 1);
    *(locals + *extra_slots++) = Value::object(make_tuple(vm, args.at + given, extra));
  }
  if (rest != nullptr) locals[*extra_slots] = Value::object(rest);
  make_cells(code);
}

}  // namespace reft
