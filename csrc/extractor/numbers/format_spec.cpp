// format(value, spec): reading the mini-language, and strings by it.
#include "numbers/format.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

[[noreturn]] void raise_value_error(Vm& vm, const char* message) {
  vm.raise(Exc::kValueError, "%s", message);
}

// Reads a spec from left to right.
class SpecReader {
 public:
  SpecReader(Vm& vm, std::string_view text) : vm_(vm), text_(text) {}

  bool at_end() const { return text_.empty(); }
  bool take(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  char take_any_of(std::string_view set) {
    if (text_.empty() || set.find(text_[0]) == std::string_view::npos) return 0;
    char c = text_[0];
    text_.remove_prefix(1);
    return c;
  }
  // Only if an alignment follows.
  bool take_fill(char32_t& fill) {
    if (text_.empty()) return false;
    std::uint32_t size = utf8_length(static_cast<unsigned char>(text_[0]));
    if (text_.size() <= size || !is_align(text_[size])) return false;
    fill = decode_utf8(text_.data());
    text_.remove_prefix(size);
    return true;
  }
  bool take_number(std::int64_t& number) {
    std::size_t size = 0;
    std::int64_t value = parse_width(vm_, text_, size);
    if (size == 0) return false;
    text_.remove_prefix(size);
    number = value;
    return true;
  }
  // The last code point; false if there are more.
  bool take_last(char32_t& code_point) {
    if (text_.size() != utf8_length(static_cast<unsigned char>(text_[0]))) return false;
    code_point = decode_utf8(text_.data());
    return true;
  }

 private:
  Vm& vm_;
  std::string_view text_;
};

char read_grouping(Vm& vm, SpecReader& reader) {
  char grouping = reader.take(',') ? ',' : 0;
  if (reader.take('_')) {
    if (grouping != 0) raise_value_error(vm, "Cannot specify both ',' and '_'.");
    grouping = '_';
    if (reader.take(',')) raise_value_error(vm, "Cannot specify both ',' and '_'.");
  }
  return grouping;
}

// Commas go with decimal numbers only, underscores also with other bases.
void check_grouping(Vm& vm, const FormatSpec& spec) {
  if (spec.grouping == 0 || spec.type == 0) return;
  constexpr std::u32string_view kDecimal = U"defgEG%F";
  constexpr std::u32string_view kOtherBases = U"boxX";
  if (kDecimal.find(spec.type) != std::u32string_view::npos) return;
  if (spec.grouping == '_' && kOtherBases.find(spec.type) != std::u32string_view::npos) return;
  if (spec.type > 32 && spec.type < 128) {
    vm.raise(Exc::kValueError, "Cannot specify '%c' with '%c'.", spec.grouping,
             static_cast<char>(spec.type));
  }
  vm.raise(Exc::kValueError, "Cannot specify '%c' with '\\x%x'.", spec.grouping,
           static_cast<unsigned>(spec.type));
}

[[noreturn]] void raise_invalid_spec(Vm& vm, std::string_view spec, const char* type_name) {
  TextBuilder message(vm);
  message.append("Invalid format specifier '");
  message.append(spec);
  message.append("' for object of type '");
  message.append(type_name);
  message.append("'");
  vm.raise_with(Exc::kValueError, message.finish());
}

void append_formatted_str(Vm& vm, TextBuilder& out, const Str& text, const FormatSpec& spec) {
  if (spec.type != 's') raise_unknown_type(vm, spec.type, "str");
  if (spec.sign == ' ') raise_value_error(vm, "Space not allowed in string format specifier");
  if (spec.sign != 0) raise_value_error(vm, "Sign not allowed in string format specifier");
  if (spec.no_negative_zero) {
    raise_value_error(vm, "Negative zero coercion (z) not allowed in string format specifier");
  }
  if (spec.alternate) {
    raise_value_error(vm, "Alternate form (#) not allowed in string format specifier");
  }
  if (spec.align == '=') {
    raise_value_error(vm, "'=' alignment not allowed in string format specifier");
  }
  if (spec.precision < 0 || spec.precision >= text.length) {
    append_padded(out, text.view(), text.length, spec);
  } else {
    auto length = static_cast<std::uint32_t>(spec.precision);
    append_padded(out, text.view().substr(0, byte_offset(vm, text, length)), length, spec);
  }
}

}  // namespace

FormatSpec parse_format_spec(Vm& vm, std::string_view text, char32_t default_type,
                             char default_align, const char* type_name) {
  SpecReader reader(vm, text);
  FormatSpec spec;
  bool has_fill = reader.take_fill(spec.fill);
  char align = reader.take_any_of("<>=^");
  spec.align = align != 0 ? align : default_align;
  spec.sign = reader.take_any_of(" +-");
  spec.no_negative_zero = reader.take('z');
  spec.alternate = reader.take('#');
  if (!has_fill && reader.take('0')) {
    spec.fill = '0';
    if (align == 0 && default_align == '>') spec.align = '=';
  }
  reader.take_number(spec.width);
  spec.grouping = read_grouping(vm, reader);
  if (reader.take('.') && !reader.take_number(spec.precision)) {
    raise_value_error(vm, "Format specifier missing precision");
  }
  spec.type = default_type;
  if (!reader.at_end() && !reader.take_last(spec.type)) raise_invalid_spec(vm, text, type_name);
  check_grouping(vm, spec);
  return spec;
}

std::int64_t parse_width(Vm& vm, std::string_view text, std::size_t& bytes) {
  std::int64_t number = 0;
  bytes = 0;
  while (bytes < text.size()) {
    int digit = unicode_decimal_digit(decode_utf8(text.data() + bytes));
    if (digit < 0) break;
    if (number > (INT64_MAX - digit) / 10) {
      raise_value_error(vm, "Too many decimal digits in format string");
    }
    number = number * 10 + digit;
    bytes += utf8_length(static_cast<unsigned char>(text[bytes]));
  }
  return number;
}

void raise_unknown_type(Vm& vm, char32_t type, const char* type_name) {
  if (type > 32 && type < 128) {
    vm.raise(Exc::kValueError, "Unknown format code '%c' for object of type '%s'",
             static_cast<char>(type), type_name);
  }
  vm.raise(Exc::kValueError, "Unknown format code '\\x%x' for object of type '%s'",
           static_cast<unsigned>(type), type_name);
}

void append_padded(TextBuilder& out, std::string_view text, std::uint32_t length,
                   const FormatSpec& spec) {
  if (spec.width <= length) {
    out.append(text);
    return;
  }
  std::uint64_t padding = static_cast<std::uint64_t>(spec.width) - length;
  std::uint64_t left = spec.align == '<' ? 0 : spec.align == '^' ? padding / 2 : padding;
  out.append_repeated(spec.fill, left);
  out.append(text);
  out.append_repeated(spec.fill, padding - left);
}

void append_formatted(Vm& vm, TextBuilder& out, Value value, std::string_view spec) {
  if (spec.empty()) {
    out.append(str(vm, value).as<Str>()->view());
    return;
  }
  vm.charge(1 + spec.size() / 16);
  switch (value.kind) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBig:
      append_formatted_int(vm, out, value, parse_format_spec(vm, spec, 'd', '>', type_name(value)));
      break;
    case Kind::kFloat:
      append_formatted_float(vm, out, value.f, parse_format_spec(vm, spec, 0, '>', "float"));
      break;
    case Kind::kStr:
      append_formatted_str(vm, out, *value.as<Str>(), parse_format_spec(vm, spec, 's', '<', "str"));
      break;
    case Kind::kForeign: unsupported("formatting a foreign value");
    default: vm.raise_type("unsupported format string passed to %s.__format__", type_name(value));
  }
}

Value format_value(Vm& vm, Value value, std::string_view spec) {
  if (spec.empty()) return str(vm, value);
  TextBuilder out(vm);
  append_formatted(vm, out, value, spec);
  return out.finish();
}

}  // namespace reft
