// Methods of str that fill up: center, ljust, rjust, zfill, expandtabs.
#include <cstring>

#include "operators/operators.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

enum class Align { kLeft, kRight, kCenter };

char32_t fill_argument(Vm& vm, const Args& args) {
  if (args.count < 3) return ' ';
  if (!args[2].is(Kind::kStr)) {
    raise_not_str(vm, "The fill character must be %s character, not %s", "a unicode", args[2]);
  }
  const Str& fill = *args[2].as<Str>();
  if (fill.length != 1) {
    vm.raise_type("The fill character must be exactly one character long");
  }
  return decode_utf8(fill.data);
}

Value pad(Vm& vm, const Args& args, const char* name, Align align) {
  const Str& self = some_arguments(vm, args, name, 1, 2);
  std::int64_t width = index_argument(vm, args[1]);
  char32_t fill = fill_argument(vm, args);
  if (width <= self.length) return itself(self);
  std::uint64_t margin = static_cast<std::uint64_t>(width) - self.length;
  std::uint64_t left = 0;
  if (align == Align::kRight) left = margin;
  // The odd one goes to the left if the width is odd too.
  if (align == Align::kCenter) left = margin / 2 + (margin & static_cast<std::uint64_t>(width) & 1);
  TextBuilder builder(vm);
  builder.append_repeated(fill, left);
  builder.append(self.view());
  builder.append_repeated(fill, margin - left);
  return builder.finish();
}

}  // namespace

Value str_center(Vm& vm, const Args& args) { return pad(vm, args, "center", Align::kCenter); }
Value str_ljust(Vm& vm, const Args& args) { return pad(vm, args, "ljust", Align::kLeft); }
Value str_rjust(Vm& vm, const Args& args) { return pad(vm, args, "rjust", Align::kRight); }

Value str_zfill(Vm& vm, const Args& args) {
  const Str& self = one_argument(vm, args, "zfill");
  std::int64_t width = index_argument(vm, args[1]);
  if (width <= self.length) return itself(self);
  std::string_view text = self.view();
  TextBuilder builder(vm);
  if (text.starts_with('+') || text.starts_with('-')) {
    builder.append(text[0]);
    text.remove_prefix(1);
  }
  builder.append_repeated('0', static_cast<std::uint64_t>(width) - self.length);
  builder.append(text);
  return builder.finish();
}

Value str_expandtabs(Vm& vm, const Args& args) {
  Value size_given;
  const Str& self = named_arguments(vm, args, "expandtabs", {N_tabsize}, &size_given);
  std::int64_t tab = size_given.is_unbound() ? 8 : int_argument(vm, size_given);
  vm.charge(self.bytes / 16);
  if (self.view().find('\t') == std::string_view::npos) return itself(self);
  TextBuilder builder(vm);
  std::int64_t column = 0;
  for (char c : self.view()) {
    if (c == '\t') {
      if (tab <= 0) continue;
      std::int64_t spaces = tab - column % tab;
      builder.append_repeated(' ', static_cast<std::uint64_t>(spaces));
      column += spaces;
      continue;
    }
    builder.append(c);
    bool starts = (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // a code point
    column = c == '\n' || c == '\r' ? 0 : column + (starts ? 1 : 0);
  }
  return builder.finish();
}

}  // namespace reft
