// The methods of lists, tuples, dicts, sets, ranges and dict views. All look-ups give null for a
// name that is no method of the type.
#pragma once

#include "base/vm.hpp"

namespace reft {

const Native* list_method(Symbol name);
const Native* tuple_method(Symbol name);
const Native* range_method(Symbol name);
const Native* dict_method(Symbol name);
const Native* set_method(Symbol name, bool frozen);
// `mapping` is no method and stops with Unsupported.
const Native* dict_view_method(Symbol name, View view);
// dict.fromkeys as an attribute of the type: without a first argument for the object.
const Native* dict_type_method(Symbol name);

// The keyword arguments of list.sort and sorted ("sort" in their messages for both), applied.
void sort_with_keywords(Vm& vm, List& list, const Args& args);

}  // namespace reft
