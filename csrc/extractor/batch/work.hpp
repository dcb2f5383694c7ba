// What is done with the rows of a batch.
#pragma once

#include <memory>
#include <string>

#include "batch/batch.hpp"
#include "batch/client.hpp"
#include "extract/extract.hpp"
#include "extract/natural.hpp"

namespace reft {

// Runs programs on the thread itself.
Work programs(const Options& options);

// Runs programs in a process that belongs to the thread.
Work programs_elsewhere(std::shared_ptr<Hosts> hosts, bool want_text);

// Reads the answers of natural-language texts.
Work texts(std::string trigger, NlMode mode, bool letter);

}  // namespace reft
