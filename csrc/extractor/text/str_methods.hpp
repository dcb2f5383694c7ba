// The methods of str.
#pragma once

#include "base/vm.hpp"

namespace reft {

// A static Native whose first argument is the string (it checks that it is one, so that it serves
// as str.upper too); null if str has no such method.
const Native* str_method(Symbol name);

}  // namespace reft
