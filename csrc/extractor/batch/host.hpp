// The inside of a host process: it runs the programs that a Client sends, behind a seccomp filter.
#pragma once

namespace reft {

// Locks this process down, then serves the socket until it ends. Does not return: the process ends
// with it. `parent` is the process to die with.
[[noreturn]] void serve(int channel, int parent);

}  // namespace reft
