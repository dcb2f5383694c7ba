#include "batch/client.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "batch/frames.hpp"

namespace reft {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kChannel = 3;  // in the process
constexpr int kTickMs = 20;
constexpr double kStartSeconds = 20;
constexpr std::chrono::milliseconds kBetweenStarts[] = {0ms, 50ms, 250ms};
constexpr std::uint32_t kMostFailures = 4;  // more are no accident
constexpr std::chrono::seconds kQuiet{1};
constexpr std::size_t kLookedAt = 16;  // times max_source_bytes: what is longer is not run
constexpr std::size_t kRead = 1u << 16;
static_assert(kLookedAt * (std::size_t{kLongestProgram} + 1) < kLongestFrame);
constexpr std::size_t kNotes = 2048;  // different texts a process may make us remember
constexpr const char* kBoot =
    "import sys\n"
    "from importlib.util import module_from_spec, spec_from_file_location\n"
    "spec = spec_from_file_location('_extractor', sys.argv[1])\n"
    "module = module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "module.serve(int(sys.argv[2]), int(sys.argv[3]))\n";

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// Forking takes it, so that no child finds it locked by a thread it lacks. Never destroyed.
std::mutex& notes_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

[[maybe_unused]] const int kWatchingForks = pthread_atfork(
    [] { notes_mutex().lock(); }, [] { notes_mutex().unlock(); }, [] { notes_mutex().unlock(); });

// Outcomes point to static texts; those that come from a process are kept here for good.
const char* noted(std::string_view text) {
  static auto* notes = new std::set<std::string, std::less<>>;
  if (text.empty()) return "";
  std::lock_guard lock(notes_mutex());
  auto found = notes->find(text);
  if (found != notes->end()) return found->c_str();
  return notes->size() < kNotes ? notes->emplace(text).first->c_str() : "?";
}

void write_setup(std::string& to, const Options& options) {
  const Limits& limits = options.limits;
  Writer out(to);
  out.number(limits.max_source_bytes);
  out.number(limits.max_steps);
  out.number(static_cast<std::uint64_t>(limits.max_memory_bytes));
  out.number(limits.max_int_bits);
  out.number(limits.max_str_bytes);
  out.number(limits.max_items);
  out.number(limits.max_frames);
  out.number(limits.max_nesting);
  out.number(limits.max_output_bytes);
  out.number(static_cast<std::uint8_t>(options.compat));
  out.number(static_cast<std::uint8_t>(options.entry));
  out.number(static_cast<std::uint8_t>(options.cut));
  out.number(static_cast<std::uint8_t>(options.strip_fences));
}

// False if the frame is none that an honest process writes.
bool read_outcome(std::string_view frame, std::string_view text, Outcome& outcome) {
  Reader in(frame);
  double value = in.number<double>();
  auto status = in.number<std::uint8_t>();
  auto exc = in.number<std::uint16_t>();
  if (status > static_cast<std::uint8_t>(Status::kInternal)) return false;
  if (exc >= static_cast<std::uint16_t>(Exc::kCount)) return false;
  outcome = outcome_of(static_cast<Status>(status), "");
  outcome.exc = static_cast<Exc>(exc);
  outcome.steps = in.number<std::uint32_t>();
  outcome.nanos = in.number<std::uint32_t>();
  outcome.begin = in.number<std::uint32_t>();
  outcome.end = in.number<std::uint32_t>();
  if (outcome.begin > outcome.end || outcome.end > text.size()) return false;
  std::string_view why = in.text(), type = in.text(), said = in.text();
  if (!in.whole() || said.size() > kTextBytes) return false;
  if (outcome.status == Status::kOk || outcome.status == Status::kOkNonfinite) {
    bool finite = std::isfinite(value);
    if (finite && outcome.status == Status::kOkNonfinite) return false;
    if (std::isinf(value) && outcome.status == Status::kOk) return false;
    outcome.value = value;
  }
  outcome.why = noted(why);
  outcome.type = noted(type);
  outcome.text_size = static_cast<std::uint8_t>(said.size());
  std::copy_n(said.data(), said.size(), outcome.text);
  return true;
}

void fill(std::span<const Piece> pieces, Status status, const char* why) {
  for (const Piece& piece : pieces) *piece.outcome = outcome_of(status, why);
}

}  // namespace

Client::Client(std::shared_ptr<Hosts> hosts) : hosts_(std::move(hosts)) {}

Client::~Client() { end(); }

void Client::run(std::span<const Piece> pieces, bool want_text, Cancel& cancel) noexcept {
  try {
    run_all(pieces, want_text, cancel);
  } catch (...) {  // no memory for a buffer
    end();
    fill(pieces, Status::kInternal, "no memory left");
  }
}

// `left` shrinks as outcomes come in.
void Client::run_all(std::span<const Piece>& left, bool want_text, Cancel& cancel) {
  bool alone = false;  // one row at a time, so that a death has one cause
  int losses = 0;
  while (!left.empty()) {
    if (cancel.over()) return fill(left, Status::kCancelled, kCancelledWhy);
    if (pid_ != 0 && owner_ != getpid()) end();
    if (pid_ == 0 && !start(cancel)) {
      if (cancel.over()) continue;
      return fill(left, Status::kWorkerLost, "no process can be started");
    }
    std::size_t count = alone ? 1 : left.size();
    std::size_t answered = exchange(left.first(count), want_text, cancel);
    left = left.subspan(answered);
    if (answered == count) {
      losses = 0;
      continue;
    }
    end();
    if (cancel.flag.load(std::memory_order_relaxed)) continue;
    hosts_->lost.fetch_add(1, std::memory_order_relaxed);
    if (answered > 0) losses = 0;
    if (alone && ++losses == 2) {
      fill(left.first(1), Status::kWorkerLost, "its process died or was late, twice");
      left = left.subspan(1);
      losses = 0;
    }
    alone = true;
  }
}

// ---- the process

// Tries more than once: a death in between may be an accident, and cost a whole chunk.
bool Client::start(Cancel& cancel) {
  auto now = [] { return Clock::now().time_since_epoch(); };
  if (now().count() < hosts_->quiet_until.load(std::memory_order_relaxed)) return false;
  auto begun = Clock::now();
  for (auto pause : kBetweenStarts) {
    std::this_thread::sleep_for(pause);
    if (cancel.over() || seconds_since(begun) >= kStartSeconds) break;
    if (start_one(cancel)) {
      hosts_->failures.store(0, std::memory_order_relaxed);
      return true;
    }
    end();
  }
  if (!cancel.over() && hosts_->failures.fetch_add(1, std::memory_order_relaxed) >= kMostFailures) {
    auto until = now() + std::chrono::duration_cast<Clock::duration>(kQuiet);
    hosts_->quiet_until.store(until.count(), std::memory_order_relaxed);
  }
  return false;
}

bool Client::start_one(Cancel& cancel) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
  channel_ = ends[0];
  bool spawned = spawn(ends[1]);
  close(ends[1]);
  if (!spawned) return false;
  out_.clear();
  in_.clear();
  sent_ = read_ = 0;
  write_setup(out_, hosts_->options);
  std::string_view frame;
  bool broken = false;
  auto begun = Clock::now();
  while (pump(kTickMs) && seconds_since(begun) < kStartSeconds && !broken && !cancel.over()) {
    if (!next_frame(frame, broken)) continue;
    Reader hello(frame);
    hosts_->in_force.store(hello.number<std::uint32_t>(), std::memory_order_relaxed);
    hosts_->started.fetch_add(1, std::memory_order_relaxed);
    return hello.whole();
  }
  return false;
}

// Nothing of the trainer's environment, descriptors, signals or session goes with it.
bool Client::spawn(int theirs) {
  std::string channel = std::to_string(kChannel), parent = std::to_string(getpid());
  const char* arguments[] = {
      hosts_->python.c_str(), "-I",           "-S",   "-B", "-c", kBoot, hosts_->extension.c_str(),
      channel.c_str(),        parent.c_str(), nullptr};
  char* environment[] = {nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, theirs, kChannel);  // first: it may be one of these
  for (int fd = 0; fd < 3; ++fd) {
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
  }
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(
      &attributes,
      static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID));
  int failure = posix_spawn(&pid_, arguments[0], &actions, &attributes,
                            const_cast<char* const*>(arguments), environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) pid_ = 0;
  owner_ = getpid();
  return failure == 0;
}

// Its end of the channel does not tell: a child that somebody forked meanwhile may hold it open.
bool Client::alive() const {
  siginfo_t info{};
  int result = waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return result == 0 && info.si_pid == 0;
}

void Client::end() {
  if (pid_ != 0 && owner_ == getpid()) {
    // If somebody else has reaped it, its number may be another process's by now.
    int result = waitpid(pid_, nullptr, WNOHANG);
    if (result == 0) {
      kill(pid_, SIGKILL);
      while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }
  if (channel_ >= 0) close(channel_);
  pid_ = 0;
  channel_ = -1;
}

// ---- talking to it

std::size_t Client::exchange(std::span<const Piece> pieces, bool want_text, Cancel& cancel) {
  if (read_ < in_.size()) return 0;  // an answer to no question
  std::size_t most = kLookedAt * (std::size_t{hosts_->options.limits.max_source_bytes} + 1);
  for (const Piece& piece : pieces) {
    Writer out(out_);
    out.number(static_cast<std::uint8_t>(want_text));
    out.rest(piece.text.substr(0, most));
  }
  std::size_t answered = 0;
  auto heard = Clock::now();
  while (seconds_since(heard) < hosts_->patience_s && !cancel.over() && pump(kTickMs)) {
    std::string_view frame;
    bool broken = false;
    while (answered < pieces.size() && next_frame(frame, broken)) {
      const Piece& piece = pieces[answered];
      if (!read_outcome(frame, piece.text, *piece.outcome)) return answered;
      ++answered;
      heard = Clock::now();
    }
    if (broken || answered == pieces.size()) break;
  }
  return answered;
}

// Sends and receives what can be; false when the process is gone.
bool Client::pump(int patience_ms) {
  bool sending = sent_ < out_.size();
  pollfd wait{channel_, static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0};
  int ready = poll(&wait, 1, patience_ms);
  if (ready < 0) return errno == EINTR;
  if (ready == 0) return alive();
  if ((wait.revents & POLLOUT) != 0) {
    ssize_t sent =
        send(channel_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
    sent_ += static_cast<std::size_t>(std::max<ssize_t>(0, sent));
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
    }
  }
  if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) == 0) return true;
  in_.erase(0, read_);
  read_ = 0;
  std::size_t size = in_.size();
  in_.resize(size + kRead);
  ssize_t got = recv(channel_, in_.data() + size, kRead, MSG_DONTWAIT);
  in_.resize(size + static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

// The frame lies in in_ until the next pump().
bool Client::next_frame(std::string_view& frame, bool& broken) {
  std::string_view bytes = std::string_view(in_).substr(read_);
  if (!take_frame(bytes, frame, broken)) return false;
  read_ = in_.size() - bytes.size();
  return true;
}

}  // namespace reft
