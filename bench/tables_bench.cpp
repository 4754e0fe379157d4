// The flow table and the half-open table at three sizes, and what a cache miss costs beside them.
#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <vector>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/random.h"
#include "measured.h"
#include "tcp/listener.h"
#include "tcp/time_wait.h"

namespace millrace {
namespace {

using bench::batch;
using bench::in_batches;
using bench::with_argument;

/// As many entries as `range`, batches of random ones among them or beside them, and batches that
/// come and go in turn: with a large table so many that none is in a cache when its turn comes.
template <typename Entry>
class Table {
public:
    struct Batch {
        std::array<tcp::FlowKey, batch> keys;
        std::array<uint32_t, batch> hashes{};
        std::array<Entry*, batch> entries{};
    };

    explicit Table(const benchmark::State& state)
        : count_(static_cast<size_t>(state.range(0))),
          visitors_(std::min<size_t>(count_ / batch, 256) + 1),
          pool_(count_ + visitors_.size() * batch),
          table_(count_ + visitors_.size() * batch) {
        for (size_t i = 0; i < count_; ++i) {
            const tcp::FlowKey key = key_of(i);
            table_.insert(*make(key), hash_(key));
        }
        for (size_t i = 0; i < visitors_.size(); ++i) {
            come();
            insert();
            next();
        }
    }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;
    ~Table() {
        table_.for_each([&](Entry& entry) { table_.erase(entry); });
    }

    /// A batch of tuples: of entries, or of none.
    void draw(bool known) {
        constexpr uint64_t nobody = uint64_t{1} << 40;
        for (size_t i = 0; i < batch; ++i) {
            drawn.keys[i] = key_of(random_.below(count_) + (known ? 0 : nobody));
            drawn.hashes[i] = hash_(drawn.keys[i]);
        }
    }
    /// The batch whose turn it is: new entries of tuples of their own, in the table, out of it.
    void come() {
        for (size_t i = 0; i < batch; ++i) {
            turn().keys[i] = key_of(count_ + come_++);
            turn().hashes[i] = hash_(turn().keys[i]);
            turn().entries[i] = make(turn().keys[i]);
        }
    }
    void insert() {
        for (size_t i = 0; i < batch; ++i) table_.insert(*turn().entries[i], turn().hashes[i]);
    }
    void find() const {
        const Batch& now = visitors_[turn_];
        for (size_t i = 0; i < batch; ++i)
            benchmark::DoNotOptimize(table_.find(now.keys[i], now.hashes[i]));
    }
    void leave() {
        for (Entry* entry : turn().entries) {
            table_.erase(*entry);
            pool_.give_back(entry);
        }
    }
    void next() { turn_ = (turn_ + 1) % visitors_.size(); }
    const HashTable<Entry>& table() const { return table_; }

    Batch drawn;

private:
    /// The i-th tuple; a bijection scatters neighbours.
    static tcp::FlowKey key_of(uint64_t i) {
        const uint64_t bits = i * 0x9e3779b97f4a7c15;
        tcp::FlowKey key;
        key.remote = Address::v4(&bits);
        key.remote_port = static_cast<uint16_t>(bits >> 32);
        key.local_port = static_cast<uint16_t>(bits >> 48);
        return key;
    }
    Entry* make(const tcp::FlowKey& key) {
        if constexpr (std::is_same_v<Entry, tcp::HalfOpen>)
            return pool_.take(key, listener_);
        else
            return pool_.take(key);
    }

    Batch& turn() { return visitors_[turn_]; }

    const size_t count_;
    std::vector<Batch> visitors_;
    size_t turn_ = 0;
    uint64_t come_ = 0;
    tcp::Listener listener_;
    Pool<Entry> pool_;
    HashTable<Entry> table_;
    TableHash hash_{7};
    Random random_{2};
};

/// TIME-WAIT entries stand for all flows: a look-up reads a node's first cache line.
using Flows = Table<tcp::TimeWait>;
using HalfOpens = Table<tcp::HalfOpen>;

void find(benchmark::State& state, const std::string& name, bool known) {
    const auto flows = std::make_unique<Flows>(state);
    in_batches(state, with_argument(name, state), [&] { flows->draw(known); }, [&] {
        for (size_t i = 0; i < batch; ++i)
            benchmark::DoNotOptimize(flows->table().find(flows->drawn.keys[i], flows->drawn.hashes[i]));
    });
}
void flow_table_hit(benchmark::State& state) { find(state, "flow_table_hit", true); }
void flow_table_miss(benchmark::State& state) { find(state, "flow_table_miss", false); }
BENCHMARK(flow_table_hit)->Apply(bench::populations);
BENCHMARK(flow_table_miss)->Apply(bench::populations);

/// As a burst is looked up: buckets, then nodes, then the search.
void flow_table_burst_of_32(benchmark::State& state) {
    constexpr size_t burst = 32;
    const auto flows = std::make_unique<Flows>(state);
    in_batches(state, with_argument("flow_table_burst_of_32", state), [&] { flows->draw(true); }, [&] {
        for (size_t from = 0; from < batch; from += burst) {
            for (size_t i = from; i < from + burst; ++i) flows->table().prefetch(flows->drawn.hashes[i]);
            for (size_t i = from; i < from + burst; ++i)
                flows->table().prefetch_first(flows->drawn.hashes[i]);
            for (size_t i = from; i < from + burst; ++i)
                benchmark::DoNotOptimize(flows->table().find(flows->drawn.keys[i], flows->drawn.hashes[i]));
        }
    });
}
BENCHMARK(flow_table_burst_of_32)->Apply(bench::populations);

template <typename Entries>
void insert(benchmark::State& state, const std::string& name) {
    const auto entries = std::make_unique<Entries>(state);
    in_batches(state, with_argument(name, state), [&] {
        entries->next();
        entries->leave();
        entries->come();
    }, [&] { entries->insert(); });
}
void flow_table_insert(benchmark::State& state) { insert<Flows>(state, "flow_table_insert"); }
void half_open_insert(benchmark::State& state) { insert<HalfOpens>(state, "half_open_insert"); }
BENCHMARK(flow_table_insert)->Apply(bench::populations);
BENCHMARK(half_open_insert)->Apply(bench::populations);

/// Whose turn it is goes, and one comes in its place.
template <typename Entries>
void replace(Entries& entries) {
    entries.come();
    entries.insert();
    entries.next();
}

void flow_table_erase(benchmark::State& state) {
    const auto flows = std::make_unique<Flows>(state);
    bool first = true;
    in_batches(state, with_argument("flow_table_erase", state), [&] {
        if (!first) replace(*flows);
        first = false;
    }, [&] { flows->leave(); });
}
BENCHMARK(flow_table_erase)->Apply(bench::populations);

/// The third ACK: found, taken out and given back.
void half_open_take(benchmark::State& state) {
    const auto entries = std::make_unique<HalfOpens>(state);
    bool first = true;
    in_batches(state, with_argument("half_open_take", state), [&] {
        if (!first) replace(*entries);
        first = false;
    }, [&] {
        entries->find();
        entries->leave();
    });
}
BENCHMARK(half_open_take)->Apply(bench::populations);

/// Loads of which each needs the one before, all over as many cache lines: the miss with which the
/// figures above are to be compared.
void dependent_load(benchmark::State& state) {
    struct alignas(64) Line {
        const Line* next;
    };
    const auto count = static_cast<size_t>(state.range(0));
    std::vector<Line> lines(count);
    std::vector<uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    Random random(5);
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    for (size_t i = 0; i < count; ++i)
        lines[order[i]].next = &lines[order[(i + 1) % count]];
    const Line* at = lines.data();
    in_batches(state, with_argument("dependent_load", state), [&] {
        for (size_t i = 0; i < batch; ++i) at = at->next;
        benchmark::DoNotOptimize(at);
    });
}
BENCHMARK(dependent_load)->Apply(bench::populations);

}  // namespace
}  // namespace millrace
