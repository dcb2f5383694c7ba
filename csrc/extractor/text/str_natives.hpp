// The methods of str as natives, and how they take their arguments; for the str_*.cpp only.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "base/vm.hpp"
#include "text/text.hpp"

namespace reft {

#define X(name) Value str_##name(Vm& vm, const Args& args);
#include "text/str_methods.inc"
#undef X
Value str_format(Vm& vm, const Args& args);

// ---- arguments (str_arguments.cpp). The first five return the string a method is called on, and
// raise the TypeErrors that CPython raises for a wrong number of arguments.

const Str& self_argument(Vm& vm, const Args& args, const char* name);  // any further arguments
const Str& no_argument(Vm& vm, const Args& args, const char* name);
const Str& one_argument(Vm& vm, const Args& args, const char* name);
const Str& some_arguments(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                          std::uint32_t most);
// Those of split() and the like, each given by position or by name: `values`, unbound if absent.
const Str& named_arguments(Vm& vm, const Args& args, const char* name,
                           std::initializer_list<Symbol> names, Value* values);

// "must be str, not int"
const Str& str_argument(Vm& vm, Value value);
// The argument of type int of C: OverflowError beyond.
int int_argument(Vm& vm, Value value);
// TypeError made of `format`, which has two %s: the method's name and the type of `value`.
[[noreturn]] void raise_not_str(Vm& vm, const char* format, const char* name, Value value);

// What find(x, start, end) and its like look at.
struct Window {
  std::string_view text;
  std::uint32_t start;  // in code points
  std::int64_t length;  // in code points; negative if start lies behind end: nothing is found
};
Window search_window(Vm& vm, const Args& args, const char* name);

}  // namespace reft
