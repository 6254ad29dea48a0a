// The two wires of a Verilated core behind its serial link. Reads jobs from standard input until it ends, and answers
// each on standard output; all numbers are 32 bits, little-endian, times in 1/256 of a clock cycle.
//
// Job: bit period of the receiver, number of pieces, then the pieces: bit 31 the level of the wire, the rest how long.
// Answer: number of bytes that came meanwhile, bytes without a stop bit among them, and the bytes.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vlink.h"
#include "verilated.h"

namespace {

constexpr int64_t CYCLE = 256;
constexpr int BITS = 10;  // start, eight of data, stop

bool read_number(uint32_t& value) { return std::fread(&value, sizeof value, 1, stdin) == 1; }

void write_number(uint32_t value) {
    if (std::fwrite(&value, sizeof value, 1, stdout) != 1) std::exit(2);
}

class Receiver {
  public:
    void step(bool level, int64_t period) {
        if (bit_ < 0) {
            if (!level && last_) {
                bit_ = 0;
                wait_ = period / 2;
            }
        } else if ((wait_ -= CYCLE) <= 0) {
            take(level);
            wait_ += period;
        }
        last_ = level;
    }

    std::vector<uint8_t> bytes;
    uint32_t broken = 0;

  private:
    void take(bool level) {
        if (bit_ == 0 && level) {
            bit_ = -1;  // a glitch
            return;
        }
        if (bit_ == BITS - 1) {
            bytes.push_back(byte_);
            broken += !level;
            bit_ = -1;
            return;
        }
        if (bit_ > 0) byte_ = static_cast<uint8_t>(byte_ >> 1 | level << 7);
        ++bit_;
    }

    int bit_ = -1;
    int64_t wait_ = 0;
    uint8_t byte_ = 0;
    bool last_ = true;
};

}  // namespace

int main() {
    VerilatedContext context;
    Vlink top{&context};
    Receiver receiver;
    int64_t left = 0;
    top.rst = 0;
    uint32_t period, count, piece;
    while (read_number(period) && read_number(count)) {
        while (count--) {
            if (!read_number(piece)) return 2;
            left += piece & 0x7fffffff;
            top.rx = piece >> 31;
            for (; left >= CYCLE; left -= CYCLE) {
                top.clk = 0;
                top.eval();
                top.clk = 1;
                top.eval();
                receiver.step(top.tx, period);
            }
        }
        write_number(static_cast<uint32_t>(receiver.bytes.size()));
        write_number(receiver.broken);
        std::fwrite(receiver.bytes.data(), 1, receiver.bytes.size(), stdout);
        std::fflush(stdout);
        receiver.bytes.clear();
        receiver.broken = 0;
    }
    top.final();
    return 0;
}
