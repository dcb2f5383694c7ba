// Classes and case of code points, as unicodedata of CPython 3.11 (Unicode 14) has them.
#include "text/characters.hpp"

#include <algorithm>
#include <iterator>

#include "base/status.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

struct Block {
  char32_t first, last;
};

// Printable, and nothing else that a method of str asks for.
constexpr Block kSymbols[] = {
    {0x2010, 0x2027}, {0x2030, 0x203E}, {0x20A0, 0x20C0},   {0x2190, 0x2426},   {0x2500, 0x2775},
    {0x2794, 0x2B73}, {0x3008, 0x3020}, {0x1F300, 0x1F6D7}, {0x1F900, 0x1FA53},
};

// Printable throughout, symbols aside: alphabets and ideographs.
constexpr Block kPrintables[] = {
    {0x100, 0x377},   {0x3A3, 0x52F},   {0x10D0, 0x1248},   {0x1D00, 0x1F15},
    {0x2460, 0x2B73}, {0x3041, 0x3096}, {0x3099, 0x30FF},   {0x3220, 0xA48C},
    {0xAC00, 0xD7A3}, {0xFF01, 0xFFBE}, {0x1D552, 0x1D6A5}, {0x20000, 0x2A6DF},
};

// Never printable: marks of direction and the like, surrogates, private use.
constexpr Block kHidden[] = {
    {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x206F}, {0xD800, 0xF8FF}, {0xFEFF, 0xFEFF},
};

// The zeros of all scripts; nine more digits follow each.
constexpr char32_t kZeros[] = {
    0x30,    0x660,   0x6F0,   0x7C0,   0x966,   0x9E6,   0xA66,   0xAE6,   0xB66,   0xBE6,
    0xC66,   0xCE6,   0xD66,   0xDE6,   0xE50,   0xED0,   0xF20,   0x1040,  0x1090,  0x17E0,
    0x1810,  0x1946,  0x19D0,  0x1A80,  0x1A90,  0x1B50,  0x1BB0,  0x1C40,  0x1C50,  0xA620,
    0xA8D0,  0xA900,  0xA9D0,  0xA9F0,  0xAA50,  0xABF0,  0xFF10,  0x104A0, 0x10D30, 0x11066,
    0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0,
    0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2,
    0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
};

template <std::size_t N>
bool is_in(const Block (&blocks)[N], char32_t c) {
  for (const Block& block : blocks) {
    if (c >= block.first && c <= block.last) return true;
  }
  return false;
}

constexpr bool between(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}

constexpr bool is_latin_upper(char32_t c) {
  return between(c, 'A', 'Z') || (between(c, 0xC0, 0xDE) && c != 0xD7);
}

constexpr bool is_latin_lower(char32_t c) {
  return between(c, 'a', 'z') || (between(c, 0xDF, 0xFF) && c != 0xF7) || c == 0xAA || c == 0xB5 ||
         c == 0xBA;
}

constexpr std::uint16_t latin_traits(char32_t c) {
  bool letter = is_latin_upper(c) || is_latin_lower(c);
  bool digit = between(c, '0', '9');
  bool raised = c == 0xB2 || c == 0xB3 || c == 0xB9;  // superscripts
  bool fraction = between(c, 0xBC, 0xBE);
  bool space = between(c, 9, 13) || between(c, 0x1C, 0x20) || c == 0x85 || c == 0xA0;
  std::uint32_t traits = 0;
  if (is_latin_upper(c)) traits |= kUpper;
  if (is_latin_lower(c)) traits |= kLower;
  if (letter) traits |= kAlpha;
  if (letter || c == '_') traits |= kIdStart;
  if (digit) traits |= kDecimal;
  if (digit || raised) traits |= kDigit;
  if (digit || raised || fraction) traits |= kNumeric;
  if (digit || c == 0xB7) traits |= kIdPart;
  if (space) traits |= kSpace;
  if (between(c, 0x20, 0x7E) || (c > 0xA0 && c != 0xAD)) traits |= kPrintable;
  return static_cast<std::uint16_t>(traits);
}

constexpr std::array<std::uint16_t, 256> latin_table() {
  std::array<std::uint16_t, 256> table{};
  for (char32_t c = 0; c < 256; ++c) table[c] = latin_traits(c);
  return table;
}

[[noreturn]] void unknown_character() {
  unsupported("class or case of a character beyond Latin-1");
}

// The code point itself, if it is known to have no case.
Cased unchanged(char32_t c) {
  if (c >= 0x100) wide_traits(c);
  return {{c, 0}, 1};
}

Cased one(char32_t c) { return {{c, 0}, 1}; }
Cased two(char32_t c, char32_t d) { return {{c, d}, 2}; }

}  // namespace

constinit const std::array<std::uint16_t, 256> kLatinTraits = latin_table();

std::uint16_t wide_traits(char32_t code_point) {
  if (is_in(kSymbols, code_point)) return kPrintable;
  if (is_wide_space(code_point)) return kSpace;
  if (unicode_decimal_digit(code_point) >= 0) {
    return kDecimal | kDigit | kNumeric | kPrintable | kIdPart;
  }
  unknown_character();
}

bool is_printable(char32_t code_point) {
  if (code_point < 0x100) return (kLatinTraits[code_point] & kPrintable) != 0;
  if (is_in(kPrintables, code_point)) return true;
  if (is_in(kHidden, code_point)) return false;
  return (wide_traits(code_point) & kPrintable) != 0;
}

bool is_wide_space(char32_t code_point) {
  switch (code_point) {
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000: return true;
    default: return between(code_point, 0x2000, 0x200A);
  }
}

int unicode_decimal_digit(char32_t code_point) {
  if (code_point < kZeros[0]) return -1;
  const char32_t* above = std::upper_bound(std::begin(kZeros), std::end(kZeros), code_point);
  char32_t digit = code_point - above[-1];
  return digit < 10 ? static_cast<int>(digit) : -1;
}

Cased to_lower(char32_t c) { return is_latin_upper(c) ? one(c + 0x20) : unchanged(c); }

Cased to_upper(char32_t c) {
  switch (c) {
    case 0xAA:
    case 0xBA: return one(c);
    case 0xB5: return one(0x39C);
    case 0xDF: return two('S', 'S');
    case 0xFF: return one(0x178);
    default: return is_latin_lower(c) ? one(c - 0x20) : unchanged(c);
  }
}

Cased to_title(char32_t c) { return c == 0xDF ? two('S', 's') : to_upper(c); }

Cased to_folded(char32_t c) {
  if (c == 0xB5) return one(0x3BC);
  return c == 0xDF ? two('s', 's') : to_lower(c);
}

}  // namespace reft
