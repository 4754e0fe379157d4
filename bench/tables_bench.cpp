// The flow table and the half-open table at three sizes, and what a cache miss costs beside them.
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

/// As many entries as `range`, and batches of random ones among them or beside them.
template <typename Entry>
class Table {
public:
    explicit Table(const benchmark::State& state)
        : count_(static_cast<size_t>(state.range(0))), pool_(count_ + batch), table_(count_ + batch) {
        for (size_t i = 0; i < count_; ++i) {
            const tcp::FlowKey key = key_of(i);
            table_.insert(*make(key), hash_(key));
        }
    }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;
    ~Table() {
        table_.for_each([&](Entry& entry) { table_.erase(entry); });
    }

    /// A batch of tuples: of entries, or of none.
    void draw(bool known) {
        for (size_t i = 0; i < batch; ++i) {
            keys[i] = key_of(random_.below(count_) + (known ? 0 : count_));
            hashes[i] = hash_(keys[i]);
        }
    }
    /// Entries that are not in the table, of tuples of their own.
    void take_new() {
        for (size_t i = 0; i < batch; ++i) {
            keys[i] = key_of(count_ + i);
            hashes[i] = hash_(keys[i]);
            fresh[i] = make(keys[i]);
        }
    }
    void insert() {
        for (size_t i = 0; i < batch; ++i) table_.insert(*fresh[i], hashes[i]);
    }
    void erase() {
        for (size_t i = 0; i < batch; ++i) table_.erase(*fresh[i]);
    }
    void give_back() {
        for (Entry* entry : fresh) pool_.give_back(entry);
    }
    const HashTable<Entry>& table() const { return table_; }

    std::array<tcp::FlowKey, batch> keys;
    std::array<uint32_t, batch> hashes{};
    std::array<Entry*, batch> fresh{};

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

    size_t count_;
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
            benchmark::DoNotOptimize(flows->table().find(flows->keys[i], flows->hashes[i]));
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
            for (size_t i = from; i < from + burst; ++i) flows->table().prefetch(flows->hashes[i]);
            for (size_t i = from; i < from + burst; ++i)
                flows->table().prefetch_first(flows->hashes[i]);
            for (size_t i = from; i < from + burst; ++i)
                benchmark::DoNotOptimize(flows->table().find(flows->keys[i], flows->hashes[i]));
        }
    });
}
BENCHMARK(flow_table_burst_of_32)->Apply(bench::populations);

template <typename Entries>
void insert(benchmark::State& state, const std::string& name) {
    const auto entries = std::make_unique<Entries>(state);
    bool first = true;
    in_batches(state, with_argument(name, state), [&] {
        if (!first) {
            entries->erase();
            entries->give_back();
        }
        first = false;
        entries->take_new();
    }, [&] { entries->insert(); });
    entries->erase();
    entries->give_back();
}
void flow_table_insert(benchmark::State& state) { insert<Flows>(state, "flow_table_insert"); }
void half_open_insert(benchmark::State& state) { insert<HalfOpens>(state, "half_open_insert"); }
BENCHMARK(flow_table_insert)->Apply(bench::populations);
BENCHMARK(half_open_insert)->Apply(bench::populations);

void flow_table_erase(benchmark::State& state) {
    const auto flows = std::make_unique<Flows>(state);
    in_batches(state, with_argument("flow_table_erase", state), [&] {
        flows->take_new();
        flows->insert();
    }, [&] {
        flows->erase();
        flows->give_back();
    });
}
BENCHMARK(flow_table_erase)->Apply(bench::populations);

/// The third ACK: found, taken out and given back.
void half_open_take(benchmark::State& state) {
    const auto entries = std::make_unique<HalfOpens>(state);
    in_batches(state, with_argument("half_open_take", state), [&] {
        entries->take_new();
        entries->insert();
    }, [&] {
        for (size_t i = 0; i < batch; ++i)
            benchmark::DoNotOptimize(entries->table().find(entries->keys[i], entries->hashes[i]));
        entries->erase();
        entries->give_back();
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
