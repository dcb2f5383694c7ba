// str.format and str.format_map: replacement fields, their names, conversions and nested specs.
#include <algorithm>

#include "builtins/builtins.hpp"
#include "numbers/format.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

constexpr int kLevels = 2;  // fields, and fields in their specs

// {name!conversion:spec}
struct Field {
  std::string_view name = {};
  std::string_view spec = {};
  char32_t conversion = 0;
  bool nested = false;  // there are fields in the spec
};

class Formatter {
 public:
  // `arguments` are those of format, or null: then names are looked up in `mapping`.
  Formatter(Vm& vm, const Args* arguments, Value mapping)
      : vm_(vm), arguments_(arguments), mapping_(mapping) {}

  // Appends `text` with its fields replaced.
  void expand(std::string_view text, int levels, TextBuilder& out);

 private:
  enum class Numbering { kUnknown, kAutomatic, kManual };

  [[noreturn]] void fail(const char* message) { vm_.raise(Exc::kValueError, "%s", message); }
  Field read_field(std::string_view text, std::size_t& at);
  void read_conversion(std::string_view text, std::size_t& at, Field& field);
  void replace(const Field& field, int levels, TextBuilder& out);
  Value look_up(std::string_view name);
  Value first_object(std::string_view name);
  Value positional(std::int64_t index);
  Value named(std::string_view name);
  Value attribute(Value object, std::string_view name);
  Value convert(Value value, char32_t conversion);
  std::int64_t number_of(std::string_view name);

  Vm& vm_;
  const Args* arguments_;
  Value mapping_;
  Numbering numbering_ = Numbering::kUnknown;
  std::int64_t next_ = 0;
};

void Formatter::expand(std::string_view text, int levels, TextBuilder& out) {
  if (levels <= 0) fail("Max string recursion exceeded");
  vm_.charge(1 + text.size() / 16);
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t brace = std::min(text.find_first_of("{}", at), text.size());
    out.append(text.substr(at, brace - at));
    if (brace == text.size()) return;
    at = brace + 1;
    if (at < text.size() && text[at] == text[brace]) {
      out.append(text[brace]);
      ++at;
      continue;
    }
    if (text[brace] == '}') fail("Single '}' encountered in format string");
    if (at == text.size()) fail("Single '{' encountered in format string");
    vm_.step();
    replace(read_field(text, at), levels, out);
  }
}

// Reads from behind the '{' to behind the '}'.
Field Formatter::read_field(std::string_view text, std::size_t& at) {
  Field field;
  std::size_t begin = at;
  char c = 0;
  while (at < text.size()) {
    c = text[at++];
    if (c == '{') fail("unexpected '{' in field name");
    if (c == '[') {
      at = std::min(text.find(']', at), text.size());
    } else if (c == '}' || c == ':' || c == '!') {
      break;
    }
  }
  if (c != '}' && c != ':' && c != '!') fail("expected '}' before end of string");
  field.name = text.substr(begin, at - 1 - begin);
  if (c == '!') {
    read_conversion(text, at, field);
    if (text[at - 1] == '}') return field;
  }
  if (c == '}') return field;
  begin = at;
  for (int open = 1; at < text.size();) {
    c = text[at++];
    if (c == '{') {
      field.nested = true;
      ++open;
    } else if (c == '}' && --open == 0) {
      field.spec = text.substr(begin, at - 1 - begin);
      return field;
    }
  }
  fail("unmatched '{' in format spec");
}

// Reads the conversion and the ':' or '}' behind it.
void Formatter::read_conversion(std::string_view text, std::size_t& at, Field& field) {
  if (at == text.size()) fail("end of string while looking for conversion specifier");
  field.conversion = decode_utf8(text.data() + at);
  at += utf8_length(static_cast<unsigned char>(text[at]));
  if (at == text.size()) fail("unmatched '{' in format spec");
  char c = text[at++];
  if (c != '}' && c != ':') fail("expected ':' after conversion specifier");
}

void Formatter::replace(const Field& field, int levels, TextBuilder& out) {
  Value value = look_up(field.name);
  if (field.conversion != 0) value = convert(value, field.conversion);
  if (!field.nested) {
    append_formatted(vm_, out, value, field.spec);
    return;
  }
  TextBuilder spec(vm_);
  expand(field.spec, levels - 1, spec);
  append_formatted(vm_, out, value, spec.view());
}

// The number that the whole name is, or -1.
std::int64_t Formatter::number_of(std::string_view name) {
  std::size_t size = 0;
  std::int64_t number = parse_width(vm_, name, size);
  return size == name.size() && size != 0 ? number : -1;
}

// first(.attribute | [item])*
Value Formatter::look_up(std::string_view name) {
  std::size_t at = std::min(name.find_first_of(".["), name.size());
  Value object = first_object(name.substr(0, at));
  while (at < name.size()) {
    vm_.step();
    char kind = name[at++];
    if (kind != '.' && kind != '[') {
      fail("Only '.' or '[' may follow ']' in format field specifier");
    }
    std::size_t end = kind == '.' ? name.find_first_of(".[", at) : name.find(']', at);
    if (kind == '[' && end == std::string_view::npos) fail("Missing ']' in format string");
    end = std::min(end, name.size());
    std::string_view part = name.substr(at, end - at);
    std::int64_t index = kind == '[' ? number_of(part) : -1;
    if (part.empty()) fail("Empty attribute in format string");
    at = kind == '[' ? end + 1 : end;
    if (kind == '.') {
      object = attribute(object, part);
    } else {
      object = get_item(vm_, object, index >= 0 ? Value::integer(index) : make_str(vm_, part));
    }
  }
  return object;
}

Value Formatter::first_object(std::string_view name) {
  std::int64_t number = number_of(name);
  if (!name.empty() && number < 0) return named(name);
  Numbering wanted = name.empty() ? Numbering::kAutomatic : Numbering::kManual;
  if (numbering_ == Numbering::kUnknown) numbering_ = wanted;
  if (numbering_ != wanted) {
    fail(name.empty()
             ? "cannot switch from manual field specification to automatic field numbering"
             : "cannot switch from automatic field numbering to manual field specification");
  }
  return positional(name.empty() ? next_++ : number);
}

Value Formatter::positional(std::int64_t index) {
  if (arguments_ == nullptr) fail("Format string contains positional fields");
  if (index >= static_cast<std::int64_t>(arguments_->count) - 1) {
    vm_.raise(Exc::kIndexError, "Replacement index %lld out of range for positional args tuple",
              static_cast<long long>(index));
  }
  return (*arguments_)[static_cast<std::uint32_t>(index) + 1];
}

Value Formatter::named(std::string_view name) {
  if (arguments_ == nullptr) return get_item(vm_, mapping_, make_str(vm_, name));
  vm_.charge(arguments_->keyword_count);
  for (std::uint32_t i = 0; i < arguments_->keyword_count; ++i) {
    const Keyword& keyword = arguments_->keywords[i];
    if (vm_.symbol_text(keyword.name) == name) return keyword.value;
  }
  vm_.raise_with(Exc::kKeyError, make_str(vm_, name));
}

Value Formatter::attribute(Value object, std::string_view name) {
  Symbol symbol = find_name(name);
  Value value = symbol == kNameCount ? Value::unbound() : data_attribute(vm_, object, symbol);
  if (value.is_unbound()) unsupported("an attribute in a format field");
  return value;
}

Value Formatter::convert(Value value, char32_t conversion) {
  switch (conversion) {
    case 'r': return repr(vm_, value);
    case 's': return str(vm_, value);
    case 'a': return ascii(vm_, value);
    default:
      if (conversion > 32 && conversion < 127) {
        vm_.raise(Exc::kValueError, "Unknown conversion specifier %c",
                  static_cast<char>(conversion));
      }
      vm_.raise(Exc::kValueError, "Unknown conversion specifier \\x%x",
                static_cast<unsigned>(conversion));
  }
}

}  // namespace

Value ascii(Vm& vm, Value value) {
  Value text = repr(vm, value);
  const Str& shown = *text.as<Str>();
  if (shown.ascii()) return text;
  constexpr char kHex[] = "0123456789abcdef";
  TextBuilder out(vm);
  vm.charge(shown.bytes / 16);
  for (const char* at = shown.data; at != shown.data + shown.bytes;
       at += utf8_length(static_cast<unsigned char>(*at))) {
    char32_t code_point = decode_utf8(at);
    if (code_point < 0x80) {
      out.append(*at);
      continue;
    }
    int digits = code_point < 0x100 ? 2 : code_point < 0x10000 ? 4 : 8;
    out.append(digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U");
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
      out.append(kHex[code_point >> shift & 15]);
    }
  }
  return out.finish();
}

Value format_method(Vm& vm, const Str& self, const Args& args) {
  TextBuilder out(vm);
  Formatter(vm, &args, Value::unbound()).expand(self.view(), kLevels, out);
  return out.finish();
}

Value format_map_method(Vm& vm, const Str& self, Value mapping) {
  TextBuilder out(vm);
  Formatter(vm, nullptr, mapping).expand(self.view(), kLevels, out);
  return out.finish();
}

}  // namespace reft
