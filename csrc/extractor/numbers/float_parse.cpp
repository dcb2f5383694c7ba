// Text to floats: correctly rounded by std::from_chars, accepted by CPython's grammar.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "numbers/number_text.hpp"

namespace reft {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool is_digit(char c) { return c >= '0' && c <= '9'; }
// What C's isspace says, and str.isspace of ASCII does not quite.
bool is_c_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Is a number that is out of range too large, rather than too small?
bool is_large(std::string_view number) {
  std::int64_t exponent = 0;
  std::size_t mark = std::min(number.find('e'), number.find('E'));
  if (mark != std::string_view::npos) {
    bool negative = number[mark + 1] == '-';
    for (char c : number.substr(mark + 1)) {
      if (is_digit(c)) exponent = std::min<std::int64_t>(exponent * 10 + (c - '0'), 1'000'000'000);
    }
    if (negative) exponent = -exponent;
    number = number.substr(0, mark);
  }
  std::size_t point = std::min(number.find('.'), number.size());
  std::size_t first = std::min(number.find_first_of("123456789"), number.size());
  return static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) + exponent > 0;
}

// Checks digits[.digits][e[+-]digits] with at least one digit in front of the exponent.
bool is_number(std::string_view text) {
  const char* at = text.data();
  const char* end = at + text.size();
  auto skip_digits = [&at, end] {
    const char* begin = at;
    while (at != end && is_digit(*at)) ++at;
    return at - begin;
  };
  auto digits = skip_digits();
  if (at != end && *at == '.') {
    ++at;
    digits += skip_digits();
  }
  if (digits == 0) return false;
  if (at != end && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at != end && (*at == '+' || *at == '-')) ++at;
    if (skip_digits() == 0) return false;
  }
  return at == end;
}

bool is_word(std::string_view text, std::string_view word) {
  return std::equal(text.begin(), text.end(), word.begin(), word.end(),
                    [](char a, char b) { return (a | 0x20) == b; });
}

// ASCII, stripped, without underscores.
bool parse_plain(std::string_view text, double& out) {
  bool negative = !text.empty() && text[0] == '-';
  if (negative || (!text.empty() && text[0] == '+')) text.remove_prefix(1);
  if (is_number(text)) {
    out = parse_float_literal(text);
  } else if (is_word(text, "inf") || is_word(text, "infinity")) {
    out = kInfinity;
  } else if (is_word(text, "nan")) {
    out = std::numeric_limits<double>::quiet_NaN();
  } else {
    return false;
  }
  if (negative) out = -out;
  return true;
}

std::string_view strip_c_space(std::string_view text) {
  while (!text.empty() && is_c_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_c_space(text.back())) text.remove_suffix(1);
  return text;
}

// Decimal digits and white space of any script as ASCII. False if there is anything else.
bool to_ascii(std::string_view text, char* buffer, std::string_view& ascii) {
  char* out = buffer;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(static_cast<unsigned char>(text[i]))) {
    char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x80) {
      char32_t code_point = decode_utf8(text.data() + i);
      int digit = unicode_decimal_digit(code_point);
      if (digit < 0 && !is_unicode_space(code_point)) return false;
      c = digit < 0 ? ' ' : static_cast<char>('0' + digit);
    }
    *out++ = c;
  }
  ascii = strip_c_space({buffer, static_cast<std::size_t>(out - buffer)});
  return true;
}

// Underscores stand between two digits or the text is no number.
bool drop_underscores(std::string_view& text, char* buffer) {
  char* out = buffer;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      *out++ = text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return false;
    }
  }
  text = {buffer, static_cast<std::size_t>(out - buffer)};
  return true;
}

}  // namespace

bool parse_float(std::string_view text, double& out) {
  constexpr std::size_t kLongest = 1024;
  bool ascii = std::none_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
  text = strip_c_space(text);
  bool underscores = text.find('_') != std::string_view::npos;
  if (ascii && !underscores) return parse_plain(text, out);
  if (text.size() > kLongest) unsupported("float() of a long text that is not plain digits");
  char buffer[kLongest];
  if (!ascii && !to_ascii(text, buffer, text)) return false;
  if (underscores && !drop_underscores(text, buffer)) return false;
  return parse_plain(text, out);
}

double parse_float_literal(std::string_view digits) {
  double value = 0;
  auto end = digits.data() + digits.size();
  if (std::from_chars(digits.data(), end, value).ec == std::errc::result_out_of_range) {
    return is_large(digits) ? kInfinity : 0.0;
  }
  return value;
}

}  // namespace reft
