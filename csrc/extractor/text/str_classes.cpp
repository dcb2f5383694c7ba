// Methods of str that ask what it consists of: isdigit, isalpha, isupper, isidentifier, ...
#include "text/characters.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

// Calls `visit(code point)` until it returns false; did it never?
template <typename Visit>
bool all_of(Vm& vm, const Str& text, Visit visit) {
  vm.charge(text.bytes / 16);
  const char* end = text.data + text.bytes;
  for (const char* at = text.data; at < end; at += utf8_length(static_cast<unsigned char>(*at))) {
    if (!visit(decode_utf8(at))) return false;
  }
  return true;
}

// Not empty, and every character has one of these traits?
Value all_have(Vm& vm, const Args& args, const char* name, unsigned traits) {
  const Str& self = no_argument(vm, args, name);
  bool have = all_of(vm, self, [=](char32_t c) { return (character_traits(c) & traits) != 0; });
  return Value::boolean(have && self.length != 0);
}

// No character of the other case, and one at least of this one?
Value all_in_case(Vm& vm, const Args& args, const char* name, unsigned wanted) {
  const Str& self = no_argument(vm, args, name);
  bool found = false;
  bool none_else = all_of(vm, self, [&](char32_t c) {
    unsigned cased = character_traits(c) & kCased;
    found = found || cased == wanted;
    return cased == 0 || cased == wanted;
  });
  return Value::boolean(none_else && found);
}

}  // namespace

Value str_isalnum(Vm& vm, const Args& args) { return all_have(vm, args, "isalnum", kAlnum); }
Value str_isalpha(Vm& vm, const Args& args) { return all_have(vm, args, "isalpha", kAlpha); }
Value str_isdecimal(Vm& vm, const Args& args) { return all_have(vm, args, "isdecimal", kDecimal); }
Value str_isdigit(Vm& vm, const Args& args) { return all_have(vm, args, "isdigit", kDigit); }
Value str_isnumeric(Vm& vm, const Args& args) { return all_have(vm, args, "isnumeric", kNumeric); }

Value str_islower(Vm& vm, const Args& args) { return all_in_case(vm, args, "islower", kLower); }
Value str_isupper(Vm& vm, const Args& args) { return all_in_case(vm, args, "isupper", kUpper); }

Value str_isascii(Vm& vm, const Args& args) {
  return Value::boolean(no_argument(vm, args, "isascii").ascii());
}

Value str_isspace(Vm& vm, const Args& args) {
  const Str& self = no_argument(vm, args, "isspace");
  return Value::boolean(self.length != 0 && all_of(vm, self, is_unicode_space));
}

Value str_isprintable(Vm& vm, const Args& args) {
  return Value::boolean(all_of(vm, no_argument(vm, args, "isprintable"), is_printable));
}

Value str_isidentifier(Vm& vm, const Args& args) {
  const Str& self = no_argument(vm, args, "isidentifier");
  unsigned allowed = kIdStart;
  bool fits = all_of(vm, self, [&](char32_t c) {
    bool fine = (character_traits(c) & allowed) != 0;
    allowed = kIdStart | kIdPart;
    return fine;
  });
  return Value::boolean(fits && self.length != 0);
}

Value str_istitle(Vm& vm, const Args& args) {
  const Str& self = no_argument(vm, args, "istitle");
  bool in_word = false;  // the character before has a case
  bool found = false;
  bool fits = all_of(vm, self, [&](char32_t c) {
    unsigned cased = character_traits(c) & kCased;
    bool fine = cased == 0 || (cased == kLower) == in_word;
    in_word = cased != 0;
    found = found || in_word;
    return fine;
  });
  return Value::boolean(fits && found);
}

}  // namespace reft
