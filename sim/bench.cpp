// Drives a Verilated bench wrapper: reads a job, sends its frames, writes what came out. The cycle-by-cycle behaviour is
// that of xnorweave.sim.bench.Session, idle and stall patterns included; change both together.
//
// usage: PROGRAM JOB RESULT
//
// Both files are little-endian. JOB: 64-bit numbers frames, input_words, idle limit, stall limit, burst, cyclic,
// idle seed, stall seed, patience, drain, reset cycles, streams, [words per frame of a stream]..., resets, [reset cycle]...; then
// the input words, INPUT_CHUNKS 32-bit numbers each. RESULT: 64-bit numbers status, status stream, cycle, last moved
// cycle, resets done, input words sent, [words of a stream]..., [start of a frame]..., [end of a frame]...; then where
// status is 0 the streams' words, each ceil(bits / 32) 32-bit numbers.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "Vbench.h"
#include "bench_config.h"  // INPUT_BITS, FLAG_BITS, STREAMS(X) with X(number, bits) for each stream
#include "verilated.h"

namespace {

enum Status : uint64_t { DONE = 0, NOT_HELD = 1, UNKNOWN = 2, SURPLUS = 3, DEADLOCK = 4 };

constexpr size_t chunks(size_t bits) { return (bits + 31) / 32; }

template <typename T>
void put(T& port, const uint32_t* words) {
    uint64_t value = words[0];
    if (sizeof(T) > 4) value |= static_cast<uint64_t>(words[1]) << 32;
    port = static_cast<T>(value);
}

template <std::size_t N>
void put(VlWide<N>& port, const uint32_t* words) {
    for (std::size_t at = 0; at < N; ++at) port[at] = words[at];
}

template <typename T>
void get(const T& port, uint32_t* words) {
    words[0] = static_cast<uint32_t>(port);
    if (sizeof(T) > 4) words[1] = static_cast<uint32_t>(static_cast<uint64_t>(port) >> 32);
}

template <std::size_t N>
void get(const VlWide<N>& port, uint32_t* words) {
    for (std::size_t at = 0; at < N; ++at) words[at] = port[at];
}

class Gate {
  public:
    Gate(uint64_t seed, uint64_t limit, uint64_t burst, bool cyclic)
        : state_(seed), limit_(limit), burst_(burst), cyclic_(cyclic) {}

    bool closed() {
        if (left_) {
            --left_;
            return true;
        }
        if (!limit_) return false;
        if (cyclic_) {
            opened_ = !opened_;
            if (opened_) return false;
            left_ = burst_ - 1;
            return true;
        }
        state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
        if (state_ >> 32 >= limit_) return false;
        left_ = burst_ - 1;
        return true;
    }

  private:
    uint64_t state_, limit_, burst_, left_ = 0;
    bool cyclic_, opened_ = false;
};

struct Job {
    uint64_t frames, input_words, idle, stall, burst, cyclic, idle_seed, stall_seed, patience, drain, reset_cycles;
    std::vector<uint64_t> per_frame, resets;
    std::vector<uint32_t> words;
};

struct Stream {
    uint64_t per_frame, goal, count;
    size_t size;  // 32-bit numbers per word
    std::vector<uint32_t> words;
};

[[noreturn]] void fail(const char* what, const char* path) {
    std::fprintf(stderr, "error: %s %s\n", what, path);
    std::exit(2);
}

uint64_t read_number(std::FILE* file) {
    uint64_t value = 0;
    if (std::fread(&value, sizeof value, 1, file) != 1) fail("short job", "");
    return value;
}

Job read_job(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) fail("cannot read", path);
    Job job;
    for (uint64_t* field : {&job.frames, &job.input_words, &job.idle, &job.stall, &job.burst, &job.cyclic,
                            &job.idle_seed, &job.stall_seed, &job.patience, &job.drain, &job.reset_cycles})
        *field = read_number(file);
    for (auto* list : {&job.per_frame, &job.resets}) {
        list->resize(read_number(file));
        for (uint64_t& value : *list) value = read_number(file);
    }
    job.words.resize(job.frames * job.input_words * chunks(INPUT_BITS));
    if (std::fread(job.words.data(), 4, job.words.size(), file) != job.words.size()) fail("short job", path);
    std::fclose(file);
    return job;
}

class Session {
  public:
    Session(const Job& job, Vbench& top)
        : job_(job), top_(top), idle_(job.idle_seed, job.idle, job.burst, job.cyclic),
          stall_(job.stall_seed, job.stall, job.burst, job.cyclic), starts_(job.frames), ends_(job.frames) {
#define ADD_STREAM(number, bits) add(bits);
        STREAMS(ADD_STREAM)
#undef ADD_STREAM
        left_ = words_left();
    }

    Status run() {
        first_reset();
        for (cycle_ = 0;; ++cycle_) {
            choose();
            edge();
            const Status status = take();
            if (status) return status;
            const uint64_t quiet = cycle_ - moved_;
            if (quiet >= job_.drain && !left_) return DONE;
            if (quiet >= job_.patience) return DEADLOCK;
        }
    }

    void write(const char* path, Status status) const {
        std::FILE* file = std::fopen(path, "wb");
        if (!file) fail("cannot write", path);
        for (uint64_t value : {static_cast<uint64_t>(status), at_fault_, cycle_, moved_, resets_done_, sent_})
            std::fwrite(&value, sizeof value, 1, file);
        for (const Stream& stream : streams_) std::fwrite(&stream.count, sizeof stream.count, 1, file);
        for (const auto* list : {&starts_, &ends_}) std::fwrite(list->data(), 8, list->size(), file);
        if (status == DONE)
            for (const Stream& stream : streams_) std::fwrite(stream.words.data(), 4, stream.words.size(), file);
        if (std::fclose(file)) fail("cannot write", path);
    }

  private:
    void add(size_t bits) {
        const uint64_t per_frame = job_.per_frame[streams_.size()];
        streams_.push_back({per_frame, per_frame * job_.frames, 0, chunks(bits), {}});
    }

    void first_reset() {
        for (int level : {0, 1}) {
            top_.rst = level;
            for (uint64_t count = 0; count < job_.reset_cycles; ++count) edge();
        }
    }

    void edge() {
        top_.clk = 0;
        top_.eval();
        top_.clk = 1;
        top_.eval();
    }

    void choose() {
        if (next_reset_ < job_.resets.size() && job_.resets[next_reset_] == cycle_) {
            ++next_reset_;
            top_.rst = 1;
            top_.i_valid = 0;
            top_.o_ready = 0;
            return;
        }
        top_.rst = 0;
        top_.o_ready = !stall_.closed();
        if (!top_.i_valid && sent_ < job_.frames * job_.input_words && !idle_.closed()) {
            top_.i_valid = 1;
            put(top_.i_payload, &job_.words[sent_ * chunks(INPUT_BITS)]);
        }
    }

    Status take() {
        uint32_t flags[chunks(FLAG_BITS) + 1] = {};
        get(top_.flags, flags);
        if (flags[0] & 1) {
            if (sent_ % job_.input_words == 0) starts_[sent_ / job_.input_words] = cycle_;
            ++sent_;
            --left_;
            moved_ = cycle_;
            top_.i_valid = 0;
        }
        for (size_t number = 0; number < streams_.size(); ++number) {
            const size_t at = 1 + 3 * number;
            auto flag = [&](size_t bit) { return flags[bit / 32] >> bit % 32 & 1; };
            at_fault_ = number;
            if (flag(at + 1)) return NOT_HELD;
            if (flag(at + 2)) return UNKNOWN;
            if (flag(at) && !keep(number)) return SURPLUS;
        }
        if (top_.rst) restart();
        return DONE;
    }

    bool keep(size_t number) {
        Stream& stream = streams_[number];
        if (stream.count == stream.goal) return false;
        const size_t at = stream.words.size();
        stream.words.resize(at + stream.size);
        switch (number) {
#define GET_STREAM(number, bits)                      \
    case number:                                      \
        get(top_.word##number, &stream.words[at]);    \
        break;
            STREAMS(GET_STREAM)
#undef GET_STREAM
        }
        ++stream.count;
        --left_;
        moved_ = cycle_;
        if (number == 0 && stream.count % stream.per_frame == 0) ends_[stream.count / stream.per_frame - 1] = cycle_;
        return true;
    }

    void restart() {
        uint64_t done = sent_ / job_.input_words;
        for (const Stream& stream : streams_) done = std::min(done, stream.count / stream.per_frame);
        for (Stream& stream : streams_) {
            stream.count = done * stream.per_frame;
            stream.words.resize(stream.count * stream.size);
        }
        sent_ = done * job_.input_words;
        left_ = words_left();
        ++resets_done_;
        moved_ = cycle_;
    }

    uint64_t words_left() const {
        uint64_t left = job_.frames * job_.input_words - sent_;
        for (const Stream& stream : streams_) left += stream.goal - stream.count;
        return left;
    }

    const Job& job_;
    Vbench& top_;
    Gate idle_, stall_;
    std::vector<Stream> streams_;
    std::vector<uint64_t> starts_, ends_;
    uint64_t cycle_ = 0, moved_ = 0, sent_ = 0, left_ = 0, at_fault_ = 0, resets_done_ = 0;
    size_t next_reset_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) fail("usage: PROGRAM JOB RESULT", "");
    VerilatedContext context;
    Vbench top{&context};
    const Job job = read_job(argv[1]);
    Session session{job, top};
    const Status status = session.run();
    session.write(argv[2], status);
    top.final();
    return 0;
}
