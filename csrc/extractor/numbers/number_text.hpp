// Floats and text, rounding, and the format mini-language.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/vm.hpp"
#include "text/text.hpp"

namespace reft {

// repr(float): shortest round trip, CPython's layout (exponent below 1e-4 and from 1e16 on).
// Writes at most 32 bytes; returns their number.
std::uint32_t float_repr(double value, char* out);

// float(text) by CPython's grammar: white space (Unicode too), sign, underscores between digits,
// inf/infinity/nan in any case, Unicode decimal digits. False if it is none. Charges nothing.
bool parse_float(std::string_view text, double& out);
// A float literal of the source without underscores ("1.5", "1e3", ".5", "1."): always succeeds.
double parse_float_literal(std::string_view digits);

// round(x, n) of floats, exact decimal, half to even (CPython's float___round___impl).
double round_float(Vm& vm, double value, std::int64_t places);  // OverflowError
Value round_float_to_int(Vm& vm, double value);                 // round(x)

// float // and %, and divmod, with CPython's corrections (float_divmod); ZeroDivisionError.
double float_floordiv(Vm& vm, double a, double b);
double float_mod(Vm& vm, double a, double b);
void float_divmod(Vm& vm, double a, double b, double& quotient, double& remainder);
// float ** float as CPython (float_pow): ZeroDivisionError, OverflowError; a negative base with a
// fractional exponent is a complex number: Unsupported.
double float_pow(Vm& vm, double a, double b);

// format(value, spec): int, bool, float, str by the mini-language; an empty spec is str(value);
// other types with a non-empty spec: TypeError "unsupported format string passed to X.__format__".
Value format_value(Vm& vm, Value value, std::string_view spec);
// ascii(value): repr with everything beyond ASCII escaped. A Str.
Value ascii(Vm& vm, Value value);
// The % operator of strings: format % argument (a tuple, a dict, or one value).
Value format_percent(Vm& vm, const Str& format, Value argument);
// str.format / str.format_map: `self` is the format; positional and keyword arguments.
Value format_method(Vm& vm, const Str& self, const Args& args);  // args[0] is self
Value format_map_method(Vm& vm, const Str& self, Value mapping);

}  // namespace reft
