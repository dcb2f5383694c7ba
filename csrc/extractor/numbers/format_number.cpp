// Integers and floats by the format mini-language: sign, prefix, grouping, padding.
#include <algorithm>
#include <charconv>
#include <climits>

#include "numbers/format.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// <sign><prefix><digits><head><zeros><tail>
struct NumberText {
  bool negative = false;
  std::string_view prefix = {};
  std::string_view digits = {};  // what is grouped
  std::string_view head = {};
  std::uint64_t zeros = 0;
  std::string_view tail = {};
};

char sign_of(char wanted, bool negative) {
  if (negative) return '-';
  return wanted == '+' || wanted == ' ' ? wanted : 0;
}

// The least number of digits that fill `width` when grouped.
std::int64_t digits_within(std::int64_t width, std::int64_t group) {
  if (width <= 0) return 0;
  return width - width / (group + 1) + (width % (group + 1) == 0 ? 1 : 0);
}

void append_grouped(Vm& vm, TextBuilder& out, std::string_view digits, std::uint64_t zeros,
                    std::uint64_t group, char separator) {
  std::uint64_t total = zeros + digits.size();
  vm.check_str(total);
  vm.charge(total / 8);
  for (std::uint64_t i = 0; i < total; ++i) {
    if (i != 0 && (total - i) % group == 0) out.append(separator);
    out.append(i < zeros ? '0' : digits[i - zeros]);
  }
}

void append_number(Vm& vm, TextBuilder& out, const NumberText& number, const FormatSpec& spec) {
  char sign = sign_of(spec.sign, number.negative);
  bool other_base = spec.type == 'b' || spec.type == 'o' || spec.type == 'x' || spec.type == 'X';
  std::int64_t group = spec.grouping == 0 ? 0 : other_base ? 4 : 3;
  auto digits = static_cast<std::int64_t>(number.digits.size());
  auto others = static_cast<std::int64_t>((sign != 0 ? 1 : 0) + number.prefix.size() +
                                          number.head.size() + number.zeros + number.tail.size());
  std::int64_t zeros = 0;
  if (digits != 0 && spec.fill == '0' && spec.align == '=') {
    std::int64_t width = spec.width - others;
    zeros = std::max<std::int64_t>(0, (group != 0 ? digits_within(width, group) : width) - digits);
  }
  std::int64_t separators = group == 0 || digits == 0 ? 0 : (zeros + digits - 1) / group;
  std::int64_t padding =
      std::max<std::int64_t>(0, spec.width - others - zeros - digits - separators);
  std::int64_t before = spec.align == '>' ? padding : spec.align == '^' ? padding / 2 : 0;
  std::int64_t inside = spec.align == '=' ? padding : 0;
  out.append_repeated(spec.fill, static_cast<std::uint64_t>(before));
  if (sign != 0) out.append(sign);
  out.append(number.prefix);
  out.append_repeated(spec.fill, static_cast<std::uint64_t>(inside));
  if (separators != 0) {
    append_grouped(vm, out, number.digits, static_cast<std::uint64_t>(zeros),
                   static_cast<std::uint64_t>(group), spec.grouping);
  } else {
    out.append_repeated('0', static_cast<std::uint64_t>(zeros));
    out.append(number.digits);
  }
  out.append(number.head);
  out.append_repeated('0', number.zeros);
  out.append(number.tail);
  out.append_repeated(spec.fill, static_cast<std::uint64_t>(padding - before - inside));
}

std::string_view prefix_of(char32_t type) {
  switch (type) {
    case 'b': return "0b";
    case 'o': return "0o";
    case 'x': return "0x";
    case 'X': return "0X";
    default: return {};
  }
}

void append_character(Vm& vm, TextBuilder& out, Value value, const FormatSpec& spec) {
  if (spec.sign != 0) {
    vm.raise(Exc::kValueError, "Sign not allowed with integer format specifier 'c'");
  }
  if (spec.alternate) {
    vm.raise(Exc::kValueError, "Alternate form (#) not allowed with integer format specifier 'c'");
  }
  if (value.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "Python int too large to convert to C long");
  }
  char bytes[4];
  std::uint32_t size = encode_utf8(checked_code_point(vm, value), bytes);
  append_padded(out, {bytes, size}, 1, spec);
}

void copy_upper(char* out, std::string_view digits) {
  std::transform(digits.begin(), digits.end(), out,
                 [](char c) { return c >= 'a' ? static_cast<char>(c - 0x20) : c; });
}

}  // namespace

void write_integer(Vm& vm, Value value, char type, IntText& out) {
  int base = type == 'd' ? 10 : type == 'b' ? 2 : type == 'o' ? 8 : 16;
  if (value.is_small_int()) {
    out.negative = value.i < 0;
    auto magnitude = static_cast<std::uint64_t>(value.i);
    if (out.negative) magnitude = 0 - magnitude;
    char* end = std::to_chars(out.buffer, out.buffer + sizeof out.buffer, magnitude, base).ptr;
    out.digits = {out.buffer, static_cast<std::size_t>(end - out.buffer)};
    if (type == 'X') copy_upper(out.buffer, out.digits);
    return;
  }
  Value text =
      base == 10 ? int_to_decimal(vm, value) : int_to_base(vm, value, type == 'X' ? 'x' : type);
  out.digits = text.as<Str>()->view();
  out.negative = out.digits[0] == '-';
  if (out.negative) out.digits.remove_prefix(1);
  if (type == 'X') {
    char* upper = vm.arena.array<char>(out.digits.size());
    copy_upper(upper, out.digits);
    out.digits = {upper, out.digits.size()};
  }
}

char32_t checked_code_point(Vm& vm, Value value) {
  if (value.is(Kind::kBig) || value.i < 0 || value.i > 0x10FFFF) {
    vm.raise(Exc::kOverflowError, "%%c arg not in range(0x110000)");
  }
  return static_cast<char32_t>(value.i);
}

void append_formatted_int(Vm& vm, TextBuilder& out, Value value, const FormatSpec& spec) {
  switch (spec.type) {
    case 'd':
    case 'n':
    case 'b':
    case 'o':
    case 'x':
    case 'X':
    case 'c': break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%': append_formatted_float(vm, out, int_to_double(vm, value), spec); return;
    default: raise_unknown_type(vm, spec.type, type_name(value));
  }
  if (spec.precision != -1) {
    vm.raise(Exc::kValueError, "Precision not allowed in integer format specifier");
  }
  if (spec.no_negative_zero) {
    vm.raise(Exc::kValueError,
             "Negative zero coercion (z) not allowed in integer format specifier");
  }
  if (spec.type == 'c') {
    append_character(vm, out, value, spec);
    return;
  }
  IntText text;
  write_integer(vm, value, spec.type == 'n' ? 'd' : static_cast<char>(spec.type), text);
  NumberText number;
  number.negative = text.negative;
  number.digits = text.digits;
  if (spec.alternate) number.prefix = prefix_of(spec.type);
  append_number(vm, out, number, spec);
}

void append_formatted_float(Vm& vm, TextBuilder& out, double value, const FormatSpec& spec) {
  constexpr std::uint64_t kDefaultPrecision = 6;
  FloatStyle style;
  switch (spec.type) {
    case 0:
      style.type = spec.precision < 0 ? 'r' : 'g';
      style.dot_zero = true;
      break;
    case 'n': style.type = 'g'; break;
    case '%':
      style.type = 'f';
      value *= 100;
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': style.type = static_cast<char>(spec.type); break;
    default: raise_unknown_type(vm, spec.type, "float");
  }
  if (spec.precision > INT_MAX) vm.raise(Exc::kValueError, "precision too big");
  style.precision =
      spec.precision < 0 ? kDefaultPrecision : static_cast<std::uint64_t>(spec.precision);
  style.alternate = spec.alternate;
  style.no_negative_zero = spec.no_negative_zero;
  FloatText text;
  write_float(vm, value, style, text);
  NumberText number;
  number.negative = text.negative;
  number.head = text.head();
  number.zeros = text.zeros;
  number.tail = text.tail();
  std::size_t digits = 0;
  while (digits < number.head.size() && number.head[digits] >= '0' && number.head[digits] <= '9') {
    ++digits;
  }
  number.digits = number.head.substr(0, digits);
  number.head.remove_prefix(digits);
  if (spec.type == '%') {
    // Nothing follows the zeros of f.
    text.text[text.size++] = '%';
    number.tail = text.tail();
  }
  append_number(vm, out, number, spec);
}

}  // namespace reft
