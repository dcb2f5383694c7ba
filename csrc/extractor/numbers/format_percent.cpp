// The % operator of strings: printf-like formatting by CPython's rules.
#include <algorithm>
#include <climits>

#include "numbers/format.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// %[flags][width][.precision][hlL]type
struct Directive {
  bool left = false;       // -
  bool plus = false;       // +
  bool blank = false;      // space
  bool alternate = false;  // #
  bool zero = false;       // 0
  std::int64_t width = -1;
  std::int64_t precision = -1;
  char32_t type = 0;
};

// What a directive made of its argument: <sign><prefix><zeros><text><more_zeros><tail>, padded.
struct Piece {
  bool number = false;  // numbers take signs and the flag 0
  bool negative = false;
  std::string_view prefix = {};
  std::uint64_t zeros = 0;
  std::string_view text = {};
  std::uint64_t more_zeros = 0;
  std::string_view tail = {};
  std::uint64_t length = 0;  // code points of all but the sign
};

// The values in their order: the items of a tuple, or one value.
class Arguments {
 public:
  explicit Arguments(Value argument) : single_(argument) {
    if (argument.is(Kind::kTuple)) tuple_ = argument.as<Tuple>();
  }
  Value next(Vm& vm) {
    if (!any_left()) vm.raise_type("not enough arguments for format string");
    ++used_;
    return tuple_ != nullptr ? tuple_->items[used_ - 1] : single_;
  }
  // Only `value` from here on, even if it is a tuple.
  void replace(Value value) {
    tuple_ = nullptr;
    single_ = value;
    used_ = 0;
  }
  bool any_left() const { return used_ < (tuple_ != nullptr ? tuple_->size : 1); }

 private:
  Tuple* tuple_ = nullptr;
  Value single_;
  std::uint32_t used_ = 0;
};

class Percent {
 public:
  Percent(Vm& vm, const Str& format, Value argument)
      : vm_(vm), text_(format.view()), out_(vm), arguments_(argument) {
    // What has items looked up by key; of a list that fails later, where it is looked up.
    bool is_mapping =
        argument.is(Kind::kDict) || argument.is(Kind::kList) || argument.is(Kind::kRange);
    if (is_mapping) mapping_ = argument;
  }

  Value run() {
    vm_.charge(1 + text_.size() / 16);
    while (at_ < text_.size()) {
      std::size_t percent = std::min(text_.find('%', at_), text_.size());
      out_.append(text_.substr(at_, percent - at_));
      at_ = percent + 1;
      if (percent == text_.size()) break;
      vm_.step();
      convert();
    }
    if (arguments_.any_left() && mapping_.is_unbound()) {
      vm_.raise_type("not all arguments converted during string formatting");
    }
    return out_.finish();
  }

 private:
  char32_t read();
  void read_key();
  Directive read_directive();
  std::int64_t read_number(char32_t& c, std::int64_t most, const char* too_big);
  std::int64_t read_star(char32_t& c, bool is_width);
  void convert();
  void convert_text(const Directive& directive, Value value);
  void convert_integer(const Directive& directive, Value value);
  void convert_float(const Directive& directive, Value value);
  void convert_character(const Directive& directive, Value value);
  void append(const Directive& directive, const Piece& piece);

  Vm& vm_;
  std::string_view text_;
  std::size_t at_ = 0;
  TextBuilder out_;
  Arguments arguments_;
  Value mapping_;  // or unbound
};

char32_t Percent::read() {
  if (at_ >= text_.size()) vm_.raise(Exc::kValueError, "incomplete format");
  char32_t c = decode_utf8(text_.data() + at_);
  at_ += utf8_length(static_cast<unsigned char>(text_[at_]));
  return c;
}

// %(key)...: the value becomes the only argument.
void Percent::read_key() {
  if (mapping_.is_unbound()) vm_.raise_type("format requires a mapping");
  std::size_t begin = ++at_;
  for (int open = 1; open > 0; ++at_) {
    if (at_ >= text_.size()) vm_.raise(Exc::kValueError, "incomplete format key");
    if (text_[at_] == '(') ++open;
    if (text_[at_] == ')') --open;
  }
  Value key = make_str(vm_, text_.substr(begin, at_ - 1 - begin));
  arguments_.replace(get_item(vm_, mapping_, key));
}

std::int64_t Percent::read_number(char32_t& c, std::int64_t most, const char* too_big) {
  std::int64_t number = 0;
  for (; c >= '0' && c <= '9'; c = read()) {
    auto digit = static_cast<std::int64_t>(c - '0');
    if (number > (most - digit) / 10) vm_.raise(Exc::kValueError, "%s", too_big);
    number = number * 10 + digit;
  }
  return number;
}

std::int64_t Percent::read_star(char32_t& c, bool is_width) {
  Value value = arguments_.next(vm_);
  if (value.is(Kind::kForeign)) unsupported("formatting a foreign value");
  if (!value.is_int()) vm_.raise_type("* wants int");
  if (value.is(Kind::kBig) || (!is_width && (value.i > INT_MAX || value.i < INT_MIN))) {
    vm_.raise(Exc::kOverflowError, "Python int too large to convert to C %s",
              is_width ? "ssize_t" : "int");
  }
  c = read();
  return value.i;
}

Directive Percent::read_directive() {
  Directive directive;
  char32_t c = read();
  for (;; c = read()) {
    if (c == '-') {
      directive.left = true;
    } else if (c == '+') {
      directive.plus = true;
    } else if (c == ' ') {
      directive.blank = true;
    } else if (c == '#') {
      directive.alternate = true;
    } else if (c == '0') {
      directive.zero = true;
    } else {
      break;
    }
  }
  if (c == '*') {
    directive.width = read_star(c, true);
    if (directive.width < 0) {
      directive.left = true;
      // Of the least number CPython makes no use either.
      directive.width = directive.width == INT64_MIN ? -1 : -directive.width;
    }
  } else if (c >= '0' && c <= '9') {
    directive.width = read_number(c, INT64_MAX, "width too big");
  }
  if (c == '.') {
    c = read();
    if (c == '*') {
      directive.precision = std::max<std::int64_t>(0, read_star(c, false));
    } else {
      directive.precision = read_number(c, INT_MAX, "precision too big");
    }
  }
  if (c == 'h' || c == 'l' || c == 'L') c = read();
  directive.type = c;
  return directive;
}

void Percent::convert() {
  if (at_ < text_.size() && text_[at_] == '%') {
    out_.append('%');
    ++at_;
    return;
  }
  if (at_ < text_.size() && text_[at_] == '(') read_key();
  Directive directive = read_directive();
  Value value = arguments_.next(vm_);
  if (value.is(Kind::kForeign)) unsupported("formatting a foreign value");
  switch (directive.type) {
    case 's':
    case 'r':
    case 'a': return convert_text(directive, value);
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X': return convert_integer(directive, value);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': return convert_float(directive, value);
    case 'c': return convert_character(directive, value);
    default: break;
  }
  bool printable = directive.type >= 31 && directive.type <= 126;
  std::size_t last = at_ - 1;
  while ((text_[last] & 0xC0) == 0x80) --last;
  vm_.raise(Exc::kValueError, "unsupported format character '%c' (0x%x) at index %u",
            printable ? static_cast<char>(directive.type) : '?',
            static_cast<unsigned>(directive.type), count_code_points(text_.substr(0, last)));
}

void Percent::convert_text(const Directive& directive, Value value) {
  Value made = directive.type == 's'   ? str(vm_, value)
               : directive.type == 'r' ? repr(vm_, value)
                                       : ascii(vm_, value);
  const Str& text = *made.as<Str>();
  Piece piece;
  piece.text = text.view();
  piece.length = text.length;
  if (directive.precision >= 0 && directive.precision < text.length) {
    piece.length = static_cast<std::uint64_t>(directive.precision);
    piece.text = piece.text.substr(
        0, byte_offset(vm_, text, static_cast<std::uint32_t>(directive.precision)));
  }
  append(directive, piece);
}

void Percent::convert_integer(const Directive& directive, Value value) {
  auto type = static_cast<char>(directive.type);
  bool decimal = type == 'd' || type == 'i' || type == 'u';
  if (!value.is_int() && !(decimal && value.is(Kind::kFloat))) {
    vm_.raise_type("%%%c format: %s is required, not %s", type,
                   decimal ? "a real number" : "an integer", type_name(value));
  }
  if (value.is(Kind::kFloat)) value = int_from_double(vm_, value.f);
  if (directive.precision > INT_MAX - 3) vm_.raise(Exc::kOverflowError, "precision too large");
  IntText text;
  write_integer(vm_, value, decimal ? 'd' : type, text);
  Piece piece;
  piece.number = true;
  piece.negative = text.negative;
  if (!decimal && directive.alternate) {
    piece.prefix = type == 'o' ? "0o" : type == 'x' ? "0x" : "0X";
  }
  piece.text = text.digits;
  auto digits = static_cast<std::int64_t>(text.digits.size());
  if (directive.precision > digits) {
    piece.zeros = static_cast<std::uint64_t>(directive.precision - digits);
  }
  piece.length = piece.prefix.size() + piece.zeros + text.digits.size();
  append(directive, piece);
}

void Percent::convert_float(const Directive& directive, Value value) {
  constexpr std::uint64_t kDefaultPrecision = 6;
  if (!value.is_number()) vm_.raise_type("must be real number, not %s", type_name(value));
  FloatStyle style;
  style.type = static_cast<char>(directive.type);
  style.alternate = directive.alternate;
  style.precision =
      directive.precision < 0 ? kDefaultPrecision : static_cast<std::uint64_t>(directive.precision);
  FloatText text;
  write_float(vm_, value.is(Kind::kFloat) ? value.f : int_to_double(vm_, value), style, text);
  Piece piece;
  piece.number = true;
  piece.negative = text.negative;
  piece.text = text.head();
  piece.more_zeros = text.zeros;
  piece.tail = text.tail();
  piece.length = text.size + text.zeros;
  append(directive, piece);
}

void Percent::convert_character(const Directive& directive, Value value) {
  char bytes[4];
  Piece piece;
  piece.length = 1;
  if (value.is(Kind::kStr) && value.as<Str>()->length == 1) {
    piece.text = value.as<Str>()->view();
  } else if (value.is_int()) {
    piece.text = {bytes, encode_utf8(checked_code_point(vm_, value), bytes)};
  } else {
    vm_.raise_type("%%c requires int or char");
  }
  append(directive, piece);
}

void Percent::append(const Directive& directive, const Piece& piece) {
  char sign = 0;
  if (piece.number) {
    sign = piece.negative ? '-' : directive.plus ? '+' : directive.blank ? ' ' : 0;
  }
  std::uint64_t length = piece.length + (sign != 0 ? 1 : 0);
  std::uint64_t padding = 0;
  if (directive.width > 0 && static_cast<std::uint64_t>(directive.width) > length) {
    padding = static_cast<std::uint64_t>(directive.width) - length;
  }
  bool zeros = piece.number && directive.zero;
  if (!directive.left && !zeros) out_.append_repeated(' ', padding);
  if (sign != 0) out_.append(sign);
  out_.append(piece.prefix);
  if (!directive.left && zeros) out_.append_repeated('0', padding);
  out_.append_repeated('0', piece.zeros);
  out_.append(piece.text);
  out_.append_repeated('0', piece.more_zeros);
  out_.append(piece.tail);
  if (directive.left) out_.append_repeated(' ', padding);
}

}  // namespace

Value format_percent(Vm& vm, const Str& format, Value argument) {
  if (argument.is(Kind::kForeign)) unsupported("formatting a foreign value");
  return Percent(vm, format, argument).run();
}

}  // namespace reft
