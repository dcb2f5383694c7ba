// The methods of types that have few: int, float, slice, generator, exceptions. Each is null if the
// type has no such method; the natives check their first argument, so they serve as int.bit_length.
#pragma once

#include "base/vm.hpp"

namespace reft {

const Native* int_method(Symbol name);
const Native* float_method(Symbol name);
const Native* slice_method(Symbol name);
const Native* generator_method(Symbol name);
const Native* exception_method(Symbol name);

}  // namespace reft
