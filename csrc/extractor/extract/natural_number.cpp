#include "extract/natural_number.hpp"

#include <algorithm>
#include <cstring>

#include "numbers/number_text.hpp"

namespace reft {
namespace {

constexpr int kMostGroups = 99;  // of thousands
constexpr int kMostDecimals = 400;
constexpr int kMostExponentDigits = 9;
constexpr std::size_t kLongest = 768;  // of a number within these limits, without its commas
constexpr std::string_view kMinus = "\xE2\x88\x92";  // U+2212

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return is_digit(c) || c == '_' || (static_cast<unsigned char>((c | 0x20) - 'a') < 26);
}
// Can `c` stand inside a number?
bool is_inner(char c) { return is_digit(c) || std::memchr(",.eE+-/", c, 7) != nullptr; }

// Reads the numbers of a text one after the other.
class NumberReader {
 public:
  explicit NumberReader(std::string_view text, std::size_t start = 0)
      : begin_(text.data()), at_(begin_ + start), end_(begin_ + text.size()) {}

  bool next(double& out) {
    while (at_ != end_ && !starts_number()) ++at_;
    if (at_ == end_) return false;
    bool negative = sign_before();
    double value = number();
    if (at_ != end_ && *at_ == '/' && digits_at(at_ + 1, 1) != 0) value = fraction(value);
    out = negative ? -value : value;
    return true;
  }

 private:
  // How many of the next bytes are digits; at most `most`.
  std::ptrdiff_t digits_at(const char* at, std::ptrdiff_t most) const {
    const char* from = at;
    while (at != end_ && at - from < most && is_digit(*at)) ++at;
    return at - from;
  }

  bool starts_number() const {
    if (is_digit(*at_)) return true;
    return *at_ == '.' && digits_at(at_ + 1, 1) != 0 && (at_ == begin_ || !is_digit(at_[-1]));
  }

  // Is there a minus in front of the number, or of its dollar sign, that is not an operator?
  bool sign_before() const {
    const char* at = at_;
    if (at - begin_ >= 2 && at[-1] == ' ' && at[-2] == '$') {
      at -= 2;
    } else if (at != begin_ && at[-1] == '$') {
      --at;
    }
    std::string_view before(begin_, static_cast<std::size_t>(at - begin_));
    if (before.ends_with('-')) {
      before.remove_suffix(1);
    } else if (before.ends_with(kMinus)) {
      before.remove_suffix(kMinus.size());
    } else {
      return false;
    }
    char c = before.empty() ? ' ' : before.back();
    return !is_word(c) && c != '.' && c != ')' && c != ']' && c != '}';
  }

  double number() {
    const char* from = at_;
    std::ptrdiff_t digits = digits_at(at_, end_ - at_);
    at_ += digits;
    int groups = digits >= 1 && digits <= 3 ? thousands() : 0;
    if (at_ != end_ && *at_ == '.') {
      std::ptrdiff_t decimals = digits_at(at_ + 1, kMostDecimals);
      if (decimals != 0) at_ += 1 + decimals;
    }
    exponent();
    std::string_view text(from, static_cast<std::size_t>(at_ - from));
    if (groups == 0) return parse_float_literal(text);
    char plain[kLongest];
    char* last = std::remove_copy(text.begin(), text.end(), plain, ',');
    return parse_float_literal({plain, static_cast<std::size_t>(last - plain)});
  }

  // Groups of three digits, each behind a comma; four digits are no group.
  int thousands() {
    int groups = 0;
    while (groups < kMostGroups && at_ != end_ && *at_ == ',' && digits_at(at_ + 1, 4) == 3) {
      at_ += 4;
      ++groups;
    }
    return groups;
  }

  void exponent() {
    if (at_ == end_ || (*at_ != 'e' && *at_ != 'E')) return;
    const char* at = at_ + 1;
    if (at != end_ && (*at == '+' || *at == '-')) ++at;
    std::ptrdiff_t digits = digits_at(at, kMostExponentDigits);
    if (digits != 0) at_ = at + digits;
  }

  // value / the digits behind the slash; one by zero is the value.
  double fraction(double value) {
    ++at_;
    std::ptrdiff_t digits = digits_at(at_, end_ - at_);
    double divisor = parse_float_literal({at_, static_cast<std::size_t>(digits)});
    at_ += digits;
    return divisor == 0 ? value : value / divisor;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
};

}  // namespace

bool first_number(std::string_view text, double& out) { return NumberReader(text).next(out); }

// What is left of the last digit and can be part of a number is read from its start.
bool last_number(std::string_view text, double& out) {
  std::size_t start = text.size();
  while (start != 0 && !is_digit(text[start - 1])) --start;
  if (start == 0) return false;
  while (start != 0 && is_inner(text[start - 1])) --start;
  NumberReader reader(text, start);
  while (reader.next(out)) {
  }
  return true;
}

}  // namespace reft
