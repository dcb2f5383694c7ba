// A fast hash of texts, keyed anew in every process so that no text can be made to collide.
#pragma once

#include <cstdint>
#include <string_view>

namespace reft {

std::uint64_t fingerprint(std::string_view text);

}  // namespace reft
