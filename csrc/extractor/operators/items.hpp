// Slices of lists: what items.cpp needs of list_slices.cpp.
#pragma once

#include "base/vm.hpp"

namespace reft {

Value slice_of_list(Vm& vm, const List& list, const Slice& slice);
void assign_slice(Vm& vm, List& list, const Slice& slice, Value value);
void delete_slice(Vm& vm, List& list, const Slice& slice);

}  // namespace reft
