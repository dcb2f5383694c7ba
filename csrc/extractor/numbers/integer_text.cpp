// Integers to and from text.
#include <algorithm>
#include <bit>
#include <charconv>

#include "numbers/integer.hpp"
#include "numbers/integer_limbs.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kMaxDigits = 4300;        // CPython's sys.get_int_max_str_digits()
constexpr std::uint64_t kMaxDigitsBits = 14'285;  // of 10**4300
constexpr Limb kTenTo19 = 10'000'000'000'000'000'000u;
constexpr std::uint32_t kChunkDigits = 19;
constexpr int kNoDigit = 37;

Value small_to_text(Vm& vm, std::int64_t value, int base) {
  char text[kLimbBits + 1];
  auto end = std::to_chars(text, text + sizeof text, value, base).ptr;
  return make_str(vm, std::string_view(text, static_cast<std::size_t>(end - text)));
}

[[noreturn]] void too_many_digits(Vm& vm) {
  vm.raise(Exc::kValueError,
           "Exceeds the limit (%u digits) for integer string conversion; "
           "use sys.set_int_max_str_digits() to increase the limit",
           kMaxDigits);
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return kNoDigit;
}

Value from_binary_digits(Vm& vm, std::string_view digits, std::uint32_t bits_each) {
  std::size_t zeros = std::min(digits.find_first_not_of('0'), digits.size());
  digits.remove_prefix(zeros);
  vm.charge((zeros + digits.size()) / 64 + 1);
  if (digits.empty()) return Value::integer(0);
  check_bits(vm, (digits.size() - 1) * bits_each + 1);
  Big* result = new_big(vm, static_cast<std::uint32_t>(digits.size() * bits_each / kLimbBits + 1));
  std::fill_n(result->limbs, result->size, Limb{0});
  std::uint64_t position = 0;
  for (std::size_t i = digits.size(); i-- != 0; position += bits_each) {
    Limb digit = static_cast<Limb>(digit_value(digits[i]));
    std::uint32_t offset = position % kLimbBits;
    result->limbs[position / kLimbBits] |= digit << offset;
    if (offset + bits_each > kLimbBits) {
      result->limbs[position / kLimbBits + 1] |= digit >> (kLimbBits - offset);
    }
  }
  return finish_big(vm, result, false);
}

// As many digits as one limb holds are put together before the long multiplication.
Value from_other_digits(Vm& vm, std::string_view digits, Limb radix) {
  std::size_t bits = digits.size() * static_cast<std::size_t>(std::bit_width(radix - 1));
  std::uint32_t capacity = static_cast<std::uint32_t>(bits / kLimbBits + 1);
  vm.charge(std::uint64_t{capacity} * capacity / 16 + 1);
  Big* result = new_big(vm, capacity);
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < digits.size();) {
    Limb chunk = 0;
    Limb scale = 1;
    while (i < digits.size() && scale <= UINT64_MAX / radix) {
      chunk = chunk * radix + static_cast<Limb>(digit_value(digits[i++]));
      scale *= radix;
    }
    Limb carry = multiply_add(result->limbs, size, scale, chunk);
    if (carry != 0) result->limbs[size++] = carry;
  }
  std::fill_n(result->limbs + size, capacity - size, Limb{0});
  return finish_big(vm, result, false);
}

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Unicode spaces and decimal digits become ASCII; the first character that is neither ends the text
// with one that no number has.
std::string_view to_ascii(Vm& vm, const Str& text) {
  char* out = vm.arena.array<char>(text.length);
  std::size_t size = 0;
  std::string_view rest = text.view();
  while (!rest.empty()) {
    char32_t c = decode_utf8(rest.data());
    rest.remove_prefix(utf8_length(static_cast<unsigned char>(rest.front())));
    int digit = c < 0x7F ? -1 : unicode_decimal_digit(c);
    char ascii = c < 0x7F ? static_cast<char>(c) : is_unicode_space(c) ? ' ' : '?';
    out[size++] = digit < 0 ? ascii : static_cast<char>('0' + digit);
    if (ascii == '?' && digit < 0) break;
  }
  return {out, size};
}

// A base's prefix: 'b', 'o' or 'x' for 2, 8 and 16.
int prefix_base(std::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 0;
  switch (text[1] | 0x20) {
    case 'b': return 2;
    case 'o': return 8;
    case 'x': return 16;
    default: return 0;
  }
}

// Takes the digits and underscores at the front of `text`; false if the underscores are misplaced.
// `digits` are what remains without underscores.
bool take_digits(Vm& vm, std::string_view& text, int base, std::string_view& digits) {
  std::size_t end = 0;
  std::size_t underscores = 0;
  while (end < text.size() && (text[end] == '_' || digit_value(text[end]) < base)) {
    bool underscore = text[end] == '_';
    if (underscore && (end == 0 || text[end - 1] == '_')) return false;
    underscores += underscore ? 1 : 0;
    ++end;
  }
  if (end != 0 && text[end - 1] == '_') return false;
  digits = text.substr(0, end);
  text.remove_prefix(end);
  if (underscores != 0) {
    char* plain = vm.arena.array<char>(end);
    std::remove_copy(digits.begin(), digits.end(), plain, '_');
    digits = {plain, end - underscores};
  }
  return true;
}

// The number, or unbound if the text is none. `text` is ASCII.
Value parse_int(Vm& vm, std::string_view text, int base) {
  while (!text.empty() && is_ascii_space(text.front())) text.remove_prefix(1);
  bool negative = !text.empty() && text.front() == '-';
  if (negative || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  int prefix = prefix_base(text);
  bool only_zero = base == 0 && prefix == 0 && !text.empty() && text.front() == '0';
  if (base == 0) base = prefix == 0 ? 10 : prefix;
  if (prefix == base) {
    text.remove_prefix(2);
    if (!text.empty() && text.front() == '_') text.remove_prefix(1);
  }
  std::string_view digits;
  if (!take_digits(vm, text, base, digits)) return Value::unbound();
  if (digits.empty()) return Value::unbound();
  Value result = int_from_digits(vm, digits, base);  // its limit is looked at before what follows
  if (only_zero && int_sign(result) != 0) return Value::unbound();
  while (!text.empty() && is_ascii_space(text.front())) text.remove_prefix(1);
  if (!text.empty()) return Value::unbound();
  return negative ? int_neg(vm, result) : result;
}

}  // namespace

Value int_to_decimal(Vm& vm, Value a) {
  if (a.is_small_int()) return small_to_text(vm, a.i, 10);
  Magnitude x(a);
  if (x.bits() > kMaxDigitsBits) too_many_digits(vm);
  vm.charge(std::uint64_t{x.size} * x.size / 16 + 1);
  // From the end: 19 digits are less than a limb, so there is room for one chunk per limb and more.
  std::uint32_t room = (x.size + x.size / 32 + 2) * kChunkDigits;
  char* text = vm.arena.array<char>(room);
  char* end = text + room;
  char* begin = end;
  {
    Scratch rest(vm, x.size + 1);
    std::copy_n(x.at, x.size, rest.at);
    LimbDivisor divisor(kTenTo19);  // its top bit is set: nothing needs shifting
    for (std::uint32_t size = x.size; size != 0; size = trimmed(rest.at, size)) {
      Limb chunk = 0;
      for (std::uint32_t i = size; i-- != 0;) rest.at[i] = divisor.divide(chunk, rest.at[i], chunk);
      for (std::uint32_t i = 0; i < kChunkDigits; ++i, chunk /= 10) {
        *--begin = static_cast<char>('0' + chunk % 10);
      }
    }
  }
  while (*begin == '0') ++begin;
  if (static_cast<std::size_t>(end - begin) > kMaxDigits) too_many_digits(vm);
  if (x.negative) *--begin = '-';
  return borrow_str(vm, std::string_view(begin, static_cast<std::size_t>(end - begin)));
}

Value int_to_base(Vm& vm, Value a, char base) {
  std::uint32_t bits_each = base == 'b' ? 1 : base == 'o' ? 3 : 4;
  if (a.is_small_int()) return small_to_text(vm, a.i, 1 << bits_each);
  Magnitude x(a);
  std::uint64_t digits = (x.bits() + bits_each - 1) / bits_each;
  vm.check_str(digits + 1);
  vm.charge(digits / 64 + 1);
  char* text = vm.arena.array<char>(digits + 1);
  char* end = text;
  if (x.negative) *end++ = '-';
  for (std::uint64_t i = digits; i-- != 0;) {
    std::uint64_t index = i * bits_each / kLimbBits;
    std::uint32_t offset = i * bits_each % kLimbBits;
    Limb window = x.at[index] >> offset;
    if (offset + bits_each > kLimbBits && index + 1 < x.size) {
      window |= x.at[index + 1] << (kLimbBits - offset);
    }
    *end++ = "0123456789abcdef"[window & ((Limb{1} << bits_each) - 1)];
  }
  return borrow_str(vm, std::string_view(text, static_cast<std::size_t>(end - text)));
}

Value int_from_digits(Vm& vm, std::string_view digits, int base) {
  constexpr std::size_t kFits = 18;
  if (base == 10 && digits.size() <= kFits) {
    std::int64_t value = 0;
    for (char c : digits) value = value * 10 + (c - '0');
    return Value::integer(value);
  }
  const unsigned radix = static_cast<unsigned>(base);
  if (std::has_single_bit(radix)) {
    return from_binary_digits(vm, digits, static_cast<unsigned>(std::countr_zero(radix)));
  }
  if (digits.size() > kMaxDigits) {
    vm.raise(Exc::kValueError,
             "Exceeds the limit (%u digits) for integer string conversion: value has %zu digits; "
             "use sys.set_int_max_str_digits() to increase the limit",
             kMaxDigits, digits.size());
  }
  return from_other_digits(vm, digits, radix);
}

Value int_from_text(Vm& vm, const Str& text, int base) {
  if ((base != 0 && base < 2) || base > 36) {
    vm.raise(Exc::kValueError, "int() base must be >= 2 and <= 36, or 0");
  }
  vm.charge(text.bytes / 64);
  Value result = parse_int(vm, text.ascii() ? text.view() : to_ascii(vm, text), base);
  if (!result.is_unbound()) return result;
  Str& original = const_cast<Str&>(text);  // a Value has no const
  Str& shown = *repr(vm, Value::object(&original)).as<Str>();
  constexpr std::uint32_t kShown = 200;  // code points
  std::uint32_t bytes = byte_offset(vm, shown, std::min(shown.length, kShown));
  vm.raise(Exc::kValueError, "invalid literal for int() with base %d: %.*s", base,
           static_cast<int>(bytes), shown.data);
}

}  // namespace reft
