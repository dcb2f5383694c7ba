// Floats to text: the digits come from std::to_chars, which is exact, the layout is CPython's.
#include "numbers/float_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "numbers/number_text.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kMostSignificant = 800;  // a double has at most 767
constexpr std::uint32_t kMostDecimals = 1074;

// 0.d1d2d3... * 10**point, without zeros at its end; zero is "0" with point 1.
struct Digits {
  std::uint32_t count;
  int point;
  char at[kMostSignificant + 32];
};

// Takes apart what to_chars wrote to `digits.at`: d[.ddd]e[+-]xx.
void split_scientific(Digits& digits, char* end) {
  char* mark = end;
  while (*--mark != 'e') {
  }
  int exponent = 0;
  std::from_chars(mark + (mark[1] == '+' ? 2 : 1), end, exponent);
  digits.point = exponent + 1;
  digits.count = static_cast<std::uint32_t>(mark - digits.at);
  if (digits.count > 1) {
    --digits.count;
    std::memmove(digits.at + 1, digits.at + 2, digits.count - 1);
    while (digits.count > 1 && digits.at[digits.count - 1] == '0') --digits.count;
  }
}

void find_shortest(double magnitude, Digits& digits) {
  split_scientific(digits, std::to_chars(digits.at, digits.at + sizeof digits.at, magnitude,
                                         std::chars_format::scientific)
                               .ptr);
}

void find_significant(Vm& vm, double magnitude, std::uint64_t count, Digits& digits) {
  int precision = static_cast<int>(std::min<std::uint64_t>(count, kMostSignificant)) - 1;
  vm.charge(static_cast<std::uint64_t>(precision) / 16);
  split_scientific(digits, std::to_chars(digits.at, digits.at + sizeof digits.at, magnitude,
                                         std::chars_format::scientific, precision)
                               .ptr);
}

// Writes into a FloatText from its front.
class Pen {
 public:
  explicit Pen(FloatText& out) : out_(out), at_(out.text) { out.zeros = 0; }
  void put(char c) { *at_++ = c; }
  void put(const char* from, std::uint32_t count) {
    std::memcpy(at_, from, count);
    at_ += count;
  }
  void put_zeros(std::uint32_t count) {
    std::memset(at_, '0', count);
    at_ += count;
  }
  // Zeros of any number; once.
  void skip_zeros(std::uint64_t count) {
    out_.zeros_at = static_cast<std::uint32_t>(at_ - out_.text);
    out_.zeros = count;
  }
  void put_exponent(int exponent, char letter) {
    put(letter);
    put(exponent < 0 ? '-' : '+');
    exponent = std::abs(exponent);
    if (exponent < 10) put('0');
    at_ = std::to_chars(at_, at_ + 4, exponent).ptr;
  }
  void finish() {
    out_.size = static_cast<std::uint32_t>(at_ - out_.text);
    if (out_.zeros == 0) out_.zeros_at = out_.size;
  }

 private:
  FloatText& out_;
  char* at_;
};

// The layout of format_float_short: digits up to `end` places behind their start, at least up to
// the point.
void lay_out(const Digits& digits, std::int64_t end, bool exponent, const FloatStyle& style,
             FloatText& out) {
  Pen pen(out);
  int point = exponent ? 1 : digits.point;
  if (style.dot_zero && !exponent) end = std::max<std::int64_t>(end, point + 1);
  end = std::max<std::int64_t>({end, point, digits.count});
  std::uint32_t whole = 0;  // digits in front of the point
  if (point <= 0) {
    pen.put('0');
  } else {
    whole = std::min(digits.count, static_cast<std::uint32_t>(point));
    pen.put(digits.at, whole);
    pen.put_zeros(static_cast<std::uint32_t>(point) - whole);
  }
  if (end > point || style.alternate) pen.put('.');
  if (point < 0) pen.put_zeros(static_cast<std::uint32_t>(-point));
  pen.put(digits.at + whole, digits.count - whole);
  pen.skip_zeros(static_cast<std::uint64_t>(
      end - std::max<std::int64_t>(point, static_cast<std::int64_t>(digits.count))));
  if (exponent) {
    pen.put_exponent(digits.point - 1, style.type == 'E' || style.type == 'G' ? 'E' : 'e');
  }
  pen.finish();
}

void write_shortest(double magnitude, const FloatStyle& style, FloatText& out) {
  Digits digits;
  find_shortest(magnitude, digits);
  lay_out(digits, 0, digits.point <= -4 || digits.point > 16, style, out);
}

void write_significant(Vm& vm, double magnitude, const FloatStyle& style, FloatText& out) {
  Digits digits;
  bool always = style.type == 'e' || style.type == 'E';
  auto precision = static_cast<std::int64_t>(always ? style.precision + 1
                                                    : std::max<std::uint64_t>(style.precision, 1));
  find_significant(vm, magnitude, static_cast<std::uint64_t>(precision), digits);
  bool exponent =
      always || digits.point <= -4 || digits.point > precision - (style.dot_zero ? 1 : 0);
  lay_out(digits, always || style.alternate ? precision : 0, exponent, style, out);
}

// Writes scaled / 10**places.
char* put_scaled(char* at, std::uint64_t scaled, std::uint32_t places) {
  char digits[20];
  auto count = static_cast<std::uint32_t>(
      std::to_chars(digits, digits + sizeof digits, scaled).ptr - digits);
  std::uint32_t whole = count > places ? count - places : 0;
  if (whole == 0) *at++ = '0';
  at = std::copy_n(digits, whole, at);
  if (places == 0) return at;
  *at++ = '.';
  at = std::fill_n(at, places - (count - whole), '0');
  return std::copy_n(digits + whole, count - whole, at);
}

void write_fixed(Vm& vm, double magnitude, const FloatStyle& style, FloatText& out) {
  std::uint64_t scaled;
  if (style.precision < kExactPowers && scale_to_integer(magnitude, style.precision, scaled)) {
    char* end = put_scaled(out.text, scaled, static_cast<std::uint32_t>(style.precision));
    out.size = out.zeros_at = static_cast<std::uint32_t>(end - out.text);
    out.zeros = 0;
  } else {
    auto precision = static_cast<int>(std::min<std::uint64_t>(style.precision, kMostDecimals));
    vm.charge(static_cast<std::uint64_t>(precision) / 16 + (magnitude > 1e18 ? 16 : 1));
    out.size =
        static_cast<std::uint32_t>(std::to_chars(out.text, out.text + kFloatTextBytes - 1,
                                                 magnitude, std::chars_format::fixed, precision)
                                       .ptr -
                                   out.text);
    out.zeros_at = out.size;
    out.zeros = style.precision - static_cast<std::uint64_t>(precision);
  }
  if (style.alternate && style.precision == 0) out.text[out.size++] = '.';  // so out.zeros is 0
}

void write_nonfinite(double value, bool upper, FloatText& out) {
  const char* text = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  std::memcpy(out.text, text, 3);
  out.size = out.zeros_at = 3;
  out.zeros = 0;
  out.negative = value < 0;
}

bool is_zero(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c >= '1' && c <= '9'; });
}

}  // namespace

void write_float(Vm& vm, double value, const FloatStyle& style, FloatText& out) {
  if (!std::isfinite(value)) {
    write_nonfinite(value, style.type >= 'A' && style.type <= 'Z', out);
    return;
  }
  double magnitude = std::fabs(value);
  out.negative = std::signbit(value);
  switch (style.type) {
    case 'r': write_shortest(magnitude, style, out); break;
    case 'f':
    case 'F': write_fixed(vm, magnitude, style, out); break;
    default: write_significant(vm, magnitude, style, out);
  }
  if (style.no_negative_zero && out.negative) {
    bool fixed = style.type == 'f' || style.type == 'F';
    out.negative = !(value == 0 || (fixed && is_zero({out.text, out.size})));
  }
}

std::uint32_t float_repr(double value, char* out) {
  // Most floats of real programs have few decimals. No two decimals of up to 15 digits are the same
  // float, so one that reads back as this float is the shortest there is.
  constexpr std::uint32_t kFewDecimals = 4;
  constexpr double kFifteenDigits = 1e15;
  char* at = out;
  double magnitude = std::fabs(value);
  for (std::uint32_t places = 0; places < kFewDecimals; ++places) {
    double scaled = magnitude * kPowersOfTen[places];
    if (!(scaled < kFifteenDigits)) break;
    auto digits = static_cast<std::int64_t>(scaled + 0.5);
    if (static_cast<double>(digits) / kPowersOfTen[places] != magnitude) continue;
    if (std::signbit(value)) *at++ = '-';
    at = put_scaled(at, static_cast<std::uint64_t>(digits), places);
    if (places == 0) at = std::copy_n(".0", 2, at);
    return static_cast<std::uint32_t>(at - out);
  }
  FloatText text;
  if (std::isfinite(value)) {
    FloatStyle style;
    style.dot_zero = true;
    text.negative = std::signbit(value);
    write_shortest(magnitude, style, text);
  } else {
    write_nonfinite(value, false, text);
  }
  if (text.negative) *at++ = '-';
  at = std::copy_n(text.text, text.zeros_at, at);
  at = std::fill_n(at, text.zeros, '0');
  std::string_view tail = text.tail();
  at = std::copy(tail.begin(), tail.end(), at);
  return static_cast<std::uint32_t>(at - out);
}

}  // namespace reft
