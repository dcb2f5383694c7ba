// The table of the methods of str, and those that are done elsewhere or not at all.
#include "text/str_methods.hpp"

#include "numbers/number_text.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

constexpr Native kMethods[] = {
#define X(name) Native{{Kind::kNative}, str_##name, N_##name},
#include "text/str_methods.inc"
#undef X
};
constexpr Native kFormat{{Kind::kNative}, str_format, N_format};

constexpr bool in_order() {
  Symbol expected = N_capitalize;
  for (const Native& method : kMethods) {
    if (method.name != expected++) return false;
  }
  return expected == N_zfill + 1;
}
static_assert(in_order(), "str_methods.inc and names.inc differ");

}  // namespace

const Native* str_method(Symbol name) {
  if (name >= N_capitalize && name <= N_zfill) return &kMethods[name - N_capitalize];
  return name == N_format ? &kFormat : nullptr;
}

Value str_format(Vm& vm, const Args& args) {
  return format_method(vm, self_argument(vm, args, "format"), args);
}

Value str_format_map(Vm& vm, const Args& args) {
  const Str& self = one_argument(vm, args, "format_map");
  return format_map_method(vm, self, args[1]);
}

Value str_encode(Vm&, const Args&) { unsupported("str.encode"); }
Value str_maketrans(Vm&, const Args&) { unsupported("str.maketrans"); }
Value str_translate(Vm&, const Args&) { unsupported("str.translate"); }

}  // namespace reft
