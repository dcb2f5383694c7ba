// The names every program starts with, and the attributes of the built-in types.
#pragma once

#include "base/vm.hpp"

namespace reft {

// The builtin of that name (function, type or constant), or unbound. Static objects.
Value builtin(Symbol name);
// A member of module math, or unbound.
Value math_member(Symbol name);
// The method `name` of values of this kind: a static Native whose first argument is the value; null
// if the type has no such attribute. A method that CPython has and this interpreter has not is a
// Native that stops with Unsupported.
const Native* find_method(Value self, Symbol name);
// A data attribute (x.real, range.start, exception.args), or unbound.
Value data_attribute(Vm& vm, Value self, Symbol name);
// Methods of a type object itself: str.upper, dict.fromkeys, int.from_bytes.
const Native* find_type_method(const Type& type, Symbol name);
// A static Type.
const Type* type_object(TypeId id);
const Type* exception_type(Exc exc);
// Is `exc` the type `ancestor` or derived from it?
bool is_subtype(Exc exc, Exc ancestor);
const char* exception_name(Exc exc);
// Calls a type: int("3"), list(x), ValueError("..."), type(x), ...
Value construct(Vm& vm, const Type& type, const Args& args);

}  // namespace reft
