// Methods of str that change case: lower, upper, title, capitalize, swapcase, casefold.
#include "text/characters.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

bool is_ascii_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_ascii_upper(char c) { return c >= 'A' && c <= 'Z'; }
char ascii_lower(char c) { return static_cast<char>(c | (is_ascii_upper(c) ? 0x20 : 0)); }
char ascii_upper(char c) { return static_cast<char>(c & ~(is_ascii_lower(c) ? 0x20 : 0)); }

// `ascii(c, is_first)` maps bytes of ASCII texts, `wide(code point, is_first)` code points of
// others.
template <typename Ascii, typename Wide>
Value map_text(Vm& vm, const Str& self, Ascii ascii, Wide wide) {
  vm.charge(self.bytes / 16);
  if (self.ascii()) {
    char* out;
    Value mapped = new_str(vm, self.bytes, self.length, out);
    for (std::uint32_t i = 0; i < self.bytes; ++i) out[i] = ascii(self.data[i], i == 0);
    return mapped;
  }
  TextBuilder builder(vm);
  const char* end = self.data + self.bytes;
  for (const char* at = self.data; at < end; at += utf8_length(static_cast<unsigned char>(*at))) {
    Cased cased = wide(decode_utf8(at), at == self.data);
    for (int i = 0; i < cased.count; ++i) builder.append_code_point(cased.at[i]);
  }
  return builder.finish();
}

Cased swap_case(char32_t c) {
  return (character_traits(c) & kUpper) != 0 ? to_lower(c) : to_upper(c);
}

}  // namespace

Value str_lower(Vm& vm, const Args& args) {
  return map_text(
      vm, no_argument(vm, args, "lower"), [](char c, bool) { return ascii_lower(c); },
      [](char32_t c, bool) { return to_lower(c); });
}

Value str_upper(Vm& vm, const Args& args) {
  return map_text(
      vm, no_argument(vm, args, "upper"), [](char c, bool) { return ascii_upper(c); },
      [](char32_t c, bool) { return to_upper(c); });
}

Value str_casefold(Vm& vm, const Args& args) {
  return map_text(
      vm, no_argument(vm, args, "casefold"), [](char c, bool) { return ascii_lower(c); },
      [](char32_t c, bool) { return to_folded(c); });
}

Value str_swapcase(Vm& vm, const Args& args) {
  return map_text(
      vm, no_argument(vm, args, "swapcase"),
      [](char c, bool) { return is_ascii_upper(c) ? ascii_lower(c) : ascii_upper(c); },
      [](char32_t c, bool) { return swap_case(c); });
}

Value str_capitalize(Vm& vm, const Args& args) {
  return map_text(
      vm, no_argument(vm, args, "capitalize"),
      [](char c, bool first) { return first ? ascii_upper(c) : ascii_lower(c); },
      [](char32_t c, bool first) { return first ? to_title(c) : to_lower(c); });
}

Value str_title(Vm& vm, const Args& args) {
  bool in_word = false;  // the character before has a case
  return map_text(
      vm, no_argument(vm, args, "title"),
      [&](char c, bool) {
        char mapped = in_word ? ascii_lower(c) : ascii_upper(c);
        in_word = is_ascii_lower(c) || is_ascii_upper(c);
        return mapped;
      },
      [&](char32_t c, bool) {
        Cased mapped = in_word ? to_lower(c) : to_title(c);
        in_word = (character_traits(c) & kCased) != 0;
        return mapped;
      });
}

}  // namespace reft
