// Headers of SYNs that listeners keep for who accepts (TCP_SAVE_SYN).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/hash_table.h"
#include "base/keyed_hash.h"
#include "base/pool.h"
#include "tcp/flow.h"
#include "wire/ethernet.h"
#include "wire/ip.h"
#include "wire/tcp.h"

namespace millrace::tcp {

struct SavedSyn : HashNode {
    static constexpr size_t size_max = wire::Ethernet::tagged_size + wire::Ip::max_header_size +
                                       wire::Segment::max_header_size;
    explicit SavedSyn(const FlowKey& flow_key) : key(flow_key) {}
    FlowKey key;
    uint16_t size = 0;
    std::array<uint8_t, size_max> bytes;
};

/// Owned by one core's stack; by tuple, from the SYN until it is fetched or the connection ends.
/// Few listeners ask for it: where none does, it costs a comparison.
class SavedSyns {
public:
    SavedSyns(const TableHash& hash, size_t limit) : hash_(hash), pool_(limit), table_(limit) {}
    ~SavedSyns() {
        table_.for_each([this](SavedSyn& saved) {
            table_.erase(saved);
            pool_.give_back(&saved);
        });
    }
    SavedSyns(const SavedSyns&) = delete;
    SavedSyns& operator=(const SavedSyns&) = delete;

    /// Room for so many bytes, at most `SavedSyn::size_max`; empty where there is none.
    std::span<uint8_t> add(const FlowKey& key, size_t size) {
        remove(key);
        SavedSyn* saved = pool_.take(key);
        if (saved == nullptr) return {};
        saved->size = static_cast<uint16_t>(size);
        table_.insert(*saved, hash_(key));
        return {saved->bytes.data(), size};
    }
    /// Empty where there is none (any more).
    std::span<const uint8_t> find(const FlowKey& key) const {
        const SavedSyn* saved = table_.size() == 0 ? nullptr : table_.find(key, hash_(key));
        if (saved == nullptr) return {};
        return {saved->bytes.data(), saved->size};
    }
    void remove(const FlowKey& key) {
        if (table_.size() == 0) return;
        SavedSyn* saved = table_.find(key, hash_(key));
        if (saved == nullptr) return;
        table_.erase(*saved);
        pool_.give_back(saved);
    }
    size_t size() const { return table_.size(); }

private:
    const TableHash hash_;
    Pool<SavedSyn> pool_;
    HashTable<SavedSyn> table_;
};

}  // namespace millrace::tcp
