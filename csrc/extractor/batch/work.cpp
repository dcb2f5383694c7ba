#include "batch/work.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace reft {

Work programs(const Options& options) {
  return [options](Lane& lane, std::span<const Piece> pieces, Cancel& cancel) {
    for (const Piece& piece : pieces) {
      if (cancel.over()) {
        *piece.outcome = outcome_of(Status::kCancelled, kCancelledWhy);
      } else {
        lane.runner.run(piece.text, options, &cancel.flag, *piece.outcome);
      }
    }
  };
}

Work programs_elsewhere(std::shared_ptr<Hosts> hosts, bool want_text) {
  return [hosts = std::move(hosts), want_text](Lane& lane, std::span<const Piece> pieces,
                                               Cancel& cancel) {
    if (lane.client == nullptr) lane.client = std::make_unique<Client>(hosts);
    lane.client->run(pieces, want_text, cancel);
  };
}

Work texts(std::string trigger, NlMode mode, bool letter) {
  return
      [trigger = std::move(trigger), mode, letter](Lane&, std::span<const Piece> pieces, Cancel&) {
        NlOutcome answer;
        for (const Piece& piece : pieces) {
          read_answer(piece.text, trigger, mode, letter, answer);
          *piece.outcome = outcome_of(answer.status, "");
          piece.outcome->value = answer.value;
          piece.outcome->text_size = answer.text_size;
          std::copy_n(answer.text, answer.text_size, piece.outcome->text);
        }
      };
}

}  // namespace reft
