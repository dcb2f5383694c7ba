// Batches, threads, forks and host processes all at once, for sanitizers: whatever happens at the
// same time, each row gets the outcome that one thread alone gives it, and nothing stays behind.
//
//   races [SECONDS] [SEED]
//
// Host processes are this program again: it plays the interpreter that Client starts.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "batch/batch.hpp"
#include "batch/client.hpp"
#include "batch/host.hpp"
#include "batch/work.hpp"

namespace {

using reft::Batch;
using reft::Outcome;
using reft::Status;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kPrograms = 600;
constexpr unsigned kHungSeconds = 300;  // beside its time: what takes longer waits for ever

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kForks = false;  // its allocator's locks may be another thread's in the child
#else
constexpr bool kForks = true;
#endif
#if defined(__SANITIZE_THREAD__)
constexpr bool kChildThreads =
    false;                          // it takes a child's threads for the parent's: same addresses
constexpr bool kProcesses = false;  // its own thread and memory do not fit behind the filter
#else
constexpr bool kChildThreads = true;
constexpr bool kProcesses = true;
#endif

[[noreturn]] void fail(const char* what, std::uint64_t detail = 0) {
  std::fprintf(stderr, "races: %s (%llu)\n", what, static_cast<unsigned long long>(detail));
  std::_Exit(3);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint32_t below(std::uint32_t most) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>((state_ >> 33) % most);
  }
  bool one_in(std::uint32_t many) { return below(many) == 0; }
  void sleep(std::uint32_t most_ms) {
    std::this_thread::sleep_for(std::chrono::microseconds(below(most_ms * 1000 + 1)));
  }

 private:
  std::uint64_t state_;
};

// ---- programs, and what one thread makes of them

// All ways to end, and everything that a thread keeps from row to row: memory, frames, exceptions.
constexpr const char* kBodies[] = {
    "    return %u\n",
    "    return sum(i * 0.5 for i in range(%u))\n",
    "    return str(%u) + ' apples'\n",
    "    return %u / 0\n",
    "    try:\n        return {}[%u]\n    except KeyError as e:\n        return e.args[0]\n",
    "    return {%u: [1, 2], 'b': (3,)}\n",
    "    return 7 ** %u %% 1000003\n",
    "    n = %u\n    while True:\n        n += 1\n",
    "    f = lambda n: 0 if n == 0 else 1 + f(n - 1)\n    return f(%u)\n",
    "    f = lambda n: f(n + 1)\n    return f(%u)\n",
    "    return [0] * (%u + 10**7)\n",
    "    import os\n    return %u\n",
    "    return (%u\n",
    "    import datetime\n    return datetime.date(1, 1, %u)\n",
    "    x = [str(i) * 50 for i in range(%u)]\n    return len(sorted(x))\n",
    "    return float('inf') if %u else 1\n",
};

struct Case {
  std::string text;
  Outcome outcome;
};

reft::Options options() {
  reft::Options given;
  given.limits.max_steps = 20'000;
  given.limits.max_memory_bytes = 2u << 20;
  given.limits.max_frames = 200;  // frames are large under sanitizers
  given.want_text = true;
  return given;
}

std::vector<Case> make_cases() {
  std::vector<Case> cases(kPrograms);
  reft::Runner runner;
  for (std::uint32_t i = 0; i < kPrograms; ++i) {
    char body[256];
    std::snprintf(body, sizeof body, kBodies[i % std::size(kBodies)], i);
    cases[i].text =
        "def solution():\n" + std::string(body) + std::string(i * 7919 % 300, '#') + "\n";
    runner.run(cases[i].text, options(), nullptr, cases[i].outcome);
  }
  return cases;
}

bool same(const Outcome& a, const Outcome& b) {
  return a.status == b.status && a.exc == b.exc && a.steps == b.steps && a.begin == b.begin &&
         a.end == b.end && std::strcmp(a.why, b.why) == 0 && std::strcmp(a.type, b.type) == 0 &&
         std::bit_cast<std::uint64_t>(a.value) == std::bit_cast<std::uint64_t>(b.value) &&
         std::string_view(a.text, a.text_size) == std::string_view(b.text, b.text_size);
}

// ---- what all share

struct Stage {
  std::vector<Case> cases = make_cases();
  std::shared_ptr<reft::Threads> threads = std::make_shared<reft::Threads>(3);
  std::shared_ptr<reft::Hosts> hosts = std::make_shared<reft::Hosts>();
  bool elsewhere = false;  // programs run in host processes
  bool killing = false;    // some of which are killed
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> rows{0}, cancelled{0}, lost{0}, forks{0}, kills{0};
};

struct Play {
  std::vector<std::uint32_t> picks;
  std::unique_ptr<Batch> batch;
  bool may_be_cancelled = false;
};

Play prepare(Stage& stage, Random& random, std::uint32_t most, bool deadlines) {
  Play play;
  std::vector<std::string_view> rows;
  std::vector<Batch::Refused> refused;
  std::uint32_t count = random.below(most);
  std::uint32_t variety = 1 + random.below(kPrograms);  // few: many duplicates
  for (std::uint32_t row = 0; row < count; ++row) {
    play.picks.push_back(random.below(variety));
    rows.push_back(stage.cases[play.picks.back()].text);
    if (random.one_in(50)) {
      refused.push_back({row, Status::kInternal, "refused"});
      play.picks.back() = kPrograms;
    }
  }
  reft::BatchOptions how{!random.one_in(3), options().limits.max_steps, 0, stage.elsewhere};
  if (deadlines && random.one_in(3)) {
    how.deadline_s = 1e-6 * (1 + random.below(20'000));
    play.may_be_cancelled = true;
  }
  auto work =
      stage.elsewhere ? reft::programs_elsewhere(stage.hosts, true) : reft::programs(options());
  play.batch =
      std::make_unique<Batch>(std::move(rows), refused, std::move(work), how, stage.threads);
  return play;
}

// Nothing lost, nothing twice, nothing at another's place.
void check(Stage& stage, const Play& play) {
  Batch& batch = *play.batch;
  if (!batch.done()) fail("a batch that is not done");
  if (batch.rows() != play.picks.size()) fail("another number of rows");
  for (std::uint32_t row = 0; row < batch.rows(); ++row) {
    const Outcome& found = batch.outcome(batch.unique_of(row));
    if (play.picks[row] == kPrograms) {
      if (std::strcmp(found.why, "refused") != 0) fail("a refused row was run", row);
    } else if (found.status == Status::kCancelled && play.may_be_cancelled) {
      ++stage.cancelled;
    } else if (found.status == Status::kWorkerLost && stage.killing) {
      ++stage.lost;
    } else if (!same(found, stage.cases[play.picks[row]].outcome)) {
      std::fprintf(stderr, "races: status %d, %s\n", static_cast<int>(found.status), found.why);
      fail("another outcome for program", play.picks[row]);
    }
  }
  stage.rows += batch.rows();
}

void finish(Stage& stage, Play& play, double tick) {
  while (!play.batch->advance(tick)) {
  }
  check(stage, play);
}

// ---- who plays

// Runs batches and waits, in line or pooled.
void runner(Stage& stage, Random random) {
  while (!stage.over) {
    Play play = prepare(stage, random, random.one_in(2) ? 60 : 500, true);
    play.batch->start(false);
    finish(stage, play, 0.1);
  }
}

// Starts two at a time, watches them, cancels, or drops them unfinished.
void submitter(Stage& stage, Random random) {
  while (!stage.over) {
    Play first = prepare(stage, random, 400, true), second = prepare(stage, random, 100, true);
    first.may_be_cancelled = true;
    first.batch->start(true);
    second.batch->start(true);
    std::atomic<bool> leave{false};
    std::thread other([&] {
      while (!leave && !first.batch->done()) std::this_thread::yield();
      first.batch->cancel();
    });
    if (random.one_in(2)) {
      random.sleep(5);
      leave = true;
    }
    if (!random.one_in(3)) finish(stage, second, 0.001);
    if (!random.one_in(3)) finish(stage, first, 0.0005);
    leave = true;
    other.join();
  }
}

// Ends the threads while others use them; and has a pool of its own that ends before its batch.
void closer(Stage& stage, Random random) {
  while (!stage.over) {
    random.sleep(20);
    stage.threads->close();
    if (stage.threads->alive() > stage.threads->count()) fail("too many threads");
    Play play = prepare(stage, random, 200, false);
    play.batch->start(true);
    if (random.one_in(2)) stage.threads->close();
    finish(stage, play, 0.05);
  }
}

// In the child: what was under way, and something new.
[[noreturn]] void be_child(Stage& stage, Play& inherited, Random random) {
  alarm(kHungSeconds);
  if (kChildThreads) finish(stage, inherited, 0.05);
  for (std::uint32_t most : {60u, 300u}) {
    Play play = prepare(stage, random, kChildThreads ? most : 60, false);
    play.batch->start(false);
    finish(stage, play, 0.05);
  }
  inherited.batch = nullptr;
  stage.threads->close();
  std::_Exit(0);
}

void forker(Stage& stage, Random random) {
  while (!stage.over) {
    Play play = prepare(stage, random, 400, false), dropped = prepare(stage, random, 100, false);
    play.batch->start(true);
    dropped.batch->start(true);
    random.sleep(5);
    pid_t child = fork();
    if (child < 0) fail("no fork");
    if (child == 0) {
      dropped.batch = nullptr;
      be_child(stage, play, random);
    }
    finish(stage, play, 0.05);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) fail("a forked child ended with", static_cast<std::uint64_t>(status));
    ++stage.forks;
  }
}

// Process ids of the hosts, children of all threads.
std::vector<pid_t> host_ids() {
  std::vector<pid_t> found;
  std::string path = "/proc/self/task";
  DIR* tasks = opendir(path.c_str());
  if (tasks == nullptr) return found;
  while (const dirent* entry = readdir(tasks)) {
    std::FILE* file = std::fopen((path + "/" + entry->d_name + "/children").c_str(), "re");
    if (file == nullptr) continue;
    int id;
    while (std::fscanf(file, "%d", &id) == 1) found.push_back(id);
    std::fclose(file);
  }
  closedir(tasks);
  return found;
}

void killer(Stage& stage, Random random) {
  while (!stage.over) {
    random.sleep(400);
    std::vector<pid_t> ids = host_ids();
    if (ids.empty()) continue;
    kill(ids[random.below(static_cast<std::uint32_t>(ids.size()))], SIGKILL);
    ++stage.kills;
  }
}

// ---- the play

std::size_t open_files() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

void play(const char* name, double seconds, std::uint64_t seed, bool elsewhere, bool killing) {
  std::size_t before = open_files();
  Stage stage;
  stage.elsewhere = elsewhere;
  stage.killing = killing;
  stage.hosts->python = "/proc/self/exe";
  stage.hosts->options = options();
  stage.hosts->patience_s = 60;
  std::vector<std::thread> players;
  auto enter = [&](void (*role)(Stage&, Random)) {
    players.emplace_back(role, std::ref(stage), Random(++seed));
  };
  for (int i = 0; i < 2; ++i) {
    enter(runner);
    enter(submitter);
  }
  enter(closer);
  if (kForks && !killing) enter(forker);  // whose children are no hosts to be killed
  if (killing) enter(killer);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stage.over = true;
  for (std::thread& player : players) player.join();
  stage.threads->close();
  if (stage.threads->alive() != 0) fail("threads after close()");
  if (waitpid(-1, nullptr, WNOHANG) != -1) fail("processes after close()");
  if (open_files() != before) fail("files left open", open_files());
  if (stage.rows == 0) fail("nothing was run");
  if (stage.lost > stage.kills * 16) fail("too many rows lost", stage.lost);
  std::printf(
      "%s: %llu rows, %llu cancelled, %llu lost; %llu forks, %llu kills; %u processes\n", name,
      static_cast<unsigned long long>(stage.rows), static_cast<unsigned long long>(stage.cancelled),
      static_cast<unsigned long long>(stage.lost), static_cast<unsigned long long>(stage.forks),
      static_cast<unsigned long long>(stage.kills), stage.hosts->started.load());
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  // As Client starts an interpreter: -I -S -B -c CODE EXTENSION CHANNEL PARENT.
  if (count == 9 && std::strcmp(arguments[1], "-I") == 0) {
    reft::serve(std::atoi(arguments[7]), std::atoi(arguments[8]));
  }
  double seconds = count > 1 ? std::atof(arguments[1]) : 20;
  alarm(static_cast<unsigned>(seconds) + kHungSeconds);
  std::uint64_t seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1;
  if (!kProcesses) {
    play("threads", seconds, seed, false, false);
    return 0;
  }
  play("threads", seconds * 0.4, seed, false, false);
  play("processes", seconds * 0.3, seed + 100, true, false);
  play("processes killed", seconds * 0.3, seed + 200, true, true);
  return 0;
}
