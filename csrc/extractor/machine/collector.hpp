// Garbage: copies what a running program still holds to a fresh arena and drops the rest.
#pragma once

#include <cstddef>

namespace reft {

class Machine;

// Moves every object reachable from the machine's frames and variables. No native may be running.
// Returns the bytes that live on. Charges for them.
std::size_t collect_garbage(Machine& machine);

}  // namespace reft
