// How connections and listeners begin and end: tables, pools, ports.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "stack/stack.h"
#include "tcp/limits.h"

namespace millrace::stack {

using observe::Drop;

namespace {

/// Listeners are found by port; the address is compared.
struct ListenerKey {
    const Address& local;
    uint16_t port;
    bool matches(const tcp::Listener& listener) const {
        return listener.port == port && listener.serves(local);
    }
};
struct ExactListenerKey {
    const Address& address;
    uint16_t port;
    bool matches(const tcp::Listener& listener) const {
        return listener.port == port && listener.address == address;
    }
};
/// Those that share a port and what arrives for it (SO_REUSEPORT).
struct GroupKey {
    const Address& address;
    uint16_t port;
    bool v6_only;
    explicit GroupKey(const tcp::Listener& member)
        : address(member.address), port(member.port), v6_only(member.v6_only) {}
    bool matches(const tcp::Listener& listener) const {
        return listener.port == port && listener.address == address &&
               listener.v6_only == v6_only;
    }
};

}  // namespace

/// `flow_hash` says which, where several share the port (SO_REUSEPORT): the same one each time.
tcp::Listener* Stack::find_listener(const Address& local, uint16_t port, uint32_t flow_hash) {
    const uint32_t hash = hash_(port);
    // The most specific first, as Linux scores them; IPv4's own "any" before IPv6's.
    tcp::Listener* found = listeners_.find(ExactListenerKey{local, port}, hash);
    const Address any = Address::any(local.family());
    if (found == nullptr) found = listeners_.find(ExactListenerKey{any, port}, hash);
    if (found == nullptr) found = listeners_.find(ListenerKey{local, port}, hash);
    if (found == nullptr || !found->reuse_port) return found;
    const GroupKey group(*found);
    const uint64_t members = listeners_.count(group, hash);
    return listeners_.find(group, hash, (flow_hash * members) >> 32);
}

Result<Binding*> Stack::bind(const SocketAddress& local, const BindOptions& options) {
    if (!may_bind(local.address)) return error(EADDRNOTAVAIL);
    return bind_in(bindings_, local, options, [this](uint16_t port) { return is_own(port, 0); });
}

/// A port that this core may choose by itself: no two cores choose the same, nor one on which
/// another listens, so that what comes to it can be meant for nobody else.
bool Stack::is_own(uint16_t port, uint16_t protocol) const {
    if (steering_.cores() == 1) return true;
    return port % steering_.cores() == core_ &&
           std::ranges::none_of(directory_, [&](const auto& entry) {
               return entry.first.port == port && entry.first.protocol == protocol;
           });
}

Result<Binding*> Stack::bind_in(Bindings& bindings, const SocketAddress& local,
                                const BindOptions& options,
                                const std::function<bool(uint16_t)>& suits) {
    if (local.port != 0) return bindings.bind(local, options);
    return bindings.bind_to_any_port(local.address, options,
                                     static_cast<uint16_t>(config_.tcp.ip_local_port_range_min),
                                     static_cast<uint16_t>(config_.tcp.ip_local_port_range_max),
                                     suits);
}

Result<tcp::Listener*> Stack::listen(const SocketAddress& local, uint32_t backlog, void* owner) {
    if (local.port == 0) return error(EINVAL);
    const auto binding = bind(local, {.reuse_address = true});
    if (!binding) return std::unexpected(binding.error());
    const auto listener = listen(**binding, backlog, owner);
    if (listener)
        (*listener)->own_binding = *binding;
    else
        release(**binding);
    return listener;
}

Result<tcp::Listener*> Stack::listen(Binding& binding, uint32_t backlog, void* owner) {
    if (const auto allowed = bindings_.listen(binding); !allowed)
        return std::unexpected(allowed.error());
    tcp::Listener* listener = listener_pool_.take();
    if (listener == nullptr) {
        ++counters_.pool_dry_sockets;
        binding.listening = false;
        return error(ENOBUFS);
    }
    listener->address = binding.local.address;
    listener->port = binding.local.port;
    listener->v6_only = binding.options.v6_only;
    listener->reuse_address = binding.options.reuse_address;
    listener->reuse_port = binding.options.reuse_port;
    set_backlog(*listener, backlog);
    listener->owner = owner;
    listeners_.insert(*listener, hash_(listener->port));
    tell_listening(*listener, true);
    return listener;
}

/// The other cores send on what arrives for it there.
void Stack::tell_listening(const tcp::Listener& listener, bool listening) {
    const bool v6_only = listener.v6_only && listener.address.is_unspecified();
    for (uint16_t core = 0; core < steering_.cores(); ++core)
        if (core != core_)
            host_.tell(core, ListenerNews{listener.address, listener.port, v6_only, core_,
                                          listening});
}

void Stack::leave_table(tcp::Listener& listener) {
    if (std::exchange(listener.stopped, true)) return;
    listeners_.erase(listener);
    if (listeners_.find(GroupKey(listener), listener.hash) == nullptr)
        tell_listening(listener, false);
}

void Stack::stop(tcp::Listener& listener) { leave_table(listener); }

void Stack::stop_listening() {
    listeners_.for_each([this](tcp::Listener& listener) { leave_table(listener); });
}

size_t Stack::abort_all() {
    listener_pool_.for_each_in_use([this](tcp::Listener& listener) { reset_half_open(listener); });
    SocketCursor cursor;
    return abort_matching(cursor, {}, SIZE_MAX / 2);
}

void Stack::reset_half_open(tcp::Listener& listener) {
    while (!listener.half_open.empty()) {
        tcp::HalfOpen& entry = listener.half_open.front();
        wire::Segment reset;
        reset.source_port = entry.key.local_port;
        reset.destination_port = entry.key.remote_port;
        reset.seq = entry.iss + 1;
        reset.ack = entry.irs + 1;
        reset.flags = wire::TcpFlags::rst | wire::TcpFlags::ack;
        ++counters_.tcp_out_rsts;
        emit({addresses_[entry.key.local].address, entry.key.remote}, reset,
             pools_.control_frame(), nullptr);
        remove_half_open(entry);
    }
}

void Stack::close_listener(tcp::Listener& listener) {
    // Every child is reset (attack case 28): nobody will ever serve it.
    reset_half_open(listener);
    while (!listener.accept_queue.empty()) {
        tcp::Connection& c = listener.accept_queue.front();
        listener.accept_queue.pop_front();
        tcp::abort(env_, c);
    }
    std::erase(acceptable_, &listener);
    leave_table(listener);
    if (listener.own_binding != nullptr) release(*listener.own_binding);
    listener_pool_.give_back(&listener);
}

tcp::Connection* Stack::accept(tcp::Listener& listener) {
    if (listener.accept_queue.empty()) return nullptr;
    tcp::Connection& c = listener.accept_queue.front();
    listener.accept_queue.pop_front();
    // What happened while it waited is told to its new owner.
    c.events &= static_cast<uint8_t>(~tcp::Event::connected);
    if (c.events != 0) env_.notify(c, c.events);
    return &c;
}

uint16_t Stack::owner_of(const tcp::FlowKey& key) const {
    return steering_.owner(key.remote, addresses_[key.local].address, key.remote_port,
                           key.local_port);
}

/// Tells the core to which steering brings this tuple's frames that they are ours (or no longer).
void Stack::claim(const tcp::FlowKey& key, bool forward) {
    if (steering_.cores() == 1) return;
    const uint16_t owner = owner_of(key);
    if (owner != core_) host_.tell(owner, ForwardNews{key, core_, forward});
}

/// Something on this core has the tuple.
bool Stack::owns(const tcp::FlowKey& key, uint32_t hash) const {
    if (key.protocol == udp::protocol) return udp_table_.find(key, hash) != nullptr;
    const tcp::Flow* flow = flows_.find(key, hash);
    if (flow == nullptr) return half_open_table_.find(key, hash) != nullptr;
    return flow->kind != tcp::FlowKind::connection ||
           static_cast<const tcp::Connection&>(*flow).state != tcp::State::closed;
}

/// Another core has it, as far as the claims tell that steering brings here.
bool Stack::is_claimed(const tcp::FlowKey& key, uint32_t hash) const {
    return steering_.cores() > 1 && forwards_.find(key, hash) != nullptr;
}

uint16_t Stack::link_mss(const Address& destination) const {
    const auto hop = routes_.find(destination);
    const uint16_t mtu = hop ? interfaces_[hop->interface].mtu : 576;
    return static_cast<uint16_t>(mtu - tcp::header_size(destination.family()));
}

/// What a search for a port finds behind a candidate.
Stack::PortUse Stack::use_of(const tcp::FlowKey& key) {
    // Only those whose replies steering brings to this core (attack case 35).
    if (owner_of(key) != core_) return PortUse::taken;
    if (bindings_.is_bound(key.local_port)) return PortUse::in_the_way;
    const uint32_t hash = hash_(key);
    if (is_claimed(key, hash)) return PortUse::in_the_way;
    const tcp::Flow* flow = flows_.find(key, hash);
    if (flow == nullptr || may_take_over(*flow)) return PortUse::free;
    return becomes_reusable(*flow) ? PortUse::in_the_way : PortUse::taken;
}

/// RFC 6056 section 3.3.4 (double-hash): a secret start and a counter for each destination, then a
/// walk over the range. What is known to be taken is passed over; candidates that have to be looked
/// up are bounded, so that no search stalls the loop. They are tried in the order in which they
/// were used: where as many in a row are taken or too young, none that follows is better.
Result<uint16_t> Stack::choose_port(const Address& local, uint16_t local_index,
                                    const SocketAddress& remote) {
    const uint32_t first = config_.tcp.ip_local_port_range_min;
    const uint32_t end = uint32_t{config_.tcp.ip_local_port_range_max} + 1;
    const uint32_t count = end - first;
    const uint32_t offset = env_.isn.port_offset(local, remote.address, remote.port);
    uint16_t& counter = port_counters_[env_.isn.port_group(local, remote.address, remote.port) %
                                       port_counters_.size()];
    tcp::FlowKey key{remote.address, remote.port, 0, local_index, 0};
    PortMap* map = port_maps_.find(key);
    // The counter wraps where the range does not: a walk goes by where it began.
    const auto start = static_cast<uint32_t>(first + (uint64_t{offset} + counter) % count);
    uint32_t lookups = 0;
    // Counts the way, not the look-ups, so that a port comes again as late as can be.
    const uint16_t counted = counter;
    const auto count_to = [&](uint32_t port) {
        counter = static_cast<uint16_t>(counted + (port + count - start) % count + 1);
    };
    for (const auto& [from, to] : {std::pair{start, end}, std::pair{first, start}}) {
        for (uint32_t port = from; (port = map == nullptr ? port : map->next(port, to)) < to;
             ++port) {
            if (lookups++ == port_lookups_max) return error(EADDRNOTAVAIL);
            count_to(port);
            key.local_port = static_cast<uint16_t>(port);
            switch (use_of(key)) {
                case PortUse::free: return key.local_port;
                case PortUse::taken:
                    if (map != nullptr) map->take(key.local_port);
                    break;
                case PortUse::in_the_way: break;
            }
        }
    }
    return error(EADDRNOTAVAIL);
}

/// Who names a port means this tuple: as in Linux, where it is in TIME-WAIT with timestamps, that
/// is enough.
bool Stack::may_be_taken_over_by_name(const tcp::Flow& flow) const {
    return flow.kind == tcp::FlowKind::time_wait && !flow.awaits_fin && flow.timestamps;
}

/// tcp_tw_reuse, RFC 6191 from the side that opens: timestamps tell the new connection's segments
/// from the old one's. At once, or when `tcp_tw_reuse_delay` is over.
bool Stack::becomes_reusable(const tcp::Flow& flow) const {
    if (!may_be_taken_over_by_name(flow)) return false;
    const uint32_t reuse = config_.tcp.tcp_tw_reuse;
    return reuse == 1 || (reuse == 2 && addresses_.find(flow.key.remote).has_value());
}

bool Stack::may_take_over(const tcp::Flow& flow) const {
    if (!becomes_reusable(flow)) return false;
    const auto& entry = static_cast<const tcp::TimeWait&>(flow);
    const Duration age = tcp::TimeWaitQueue::age(entry, env_.now, two_msl());
    return age >= Duration::from_ms(config_.tcp.tcp_tw_reuse_delay);
}

Result<tcp::Connection*> Stack::connect(const SocketAddress& remote, const SocketAddress& local,
                                        void* owner, const BindOptions& options) {
    if (remote.port == 0) return error(EINVAL);
    // MUST-46: no connection to a group. Linux says ENETUNREACH for these.
    if (remote.address.is_unspecified() || addresses_.is_group(remote.address))
        return error(ENETUNREACH);
    const auto hop = routes_.find(remote.address);
    if (!hop) return error(ENETUNREACH);
    const auto local_index = local.address.is_unspecified() ? routes_.source_for(remote.address)
                                                            : addresses_.find(local.address);
    if (!local_index) return error(EADDRNOTAVAIL);
    const Address& source = addresses_[*local_index].address;
    if (source.family() != remote.address.family()) return error(EINVAL);
    uint16_t port = local.port;
    if (port == 0) {
        const auto chosen = choose_port(source, *local_index, remote);
        if (!chosen) return std::unexpected(chosen.error());
        port = *chosen;
    }
    const tcp::FlowKey key{remote.address, remote.port, port, *local_index, 0};
    const uint32_t hash = hash_(key);
    // A port that was named may belong to a tuple that steering brings elsewhere: that core knows
    // whether it is taken, and will say so.
    if (is_claimed(key, hash)) return error(EADDRNOTAVAIL);
    std::optional<Seq> floor;
    if (tcp::Flow* flow = flows_.find(key, hash)) {
        if (local.port != 0 ? !may_be_taken_over_by_name(*flow) : !may_take_over(*flow))
            return error(EADDRNOTAVAIL);
        auto& entry = static_cast<tcp::TimeWait&>(*flow);
        floor = tcp::beyond(entry);
        ++counters_.tcp_time_wait_recycled;
        remove_time_wait(entry);
    } else if (half_open_table_.find(key, hash) != nullptr) {
        return error(EADDRNOTAVAIL);
    }
    tcp::Connection* c = add_connection(key, hash, options);
    if (c == nullptr) return error(ENOBUFS);
    c->owner = owner;
    port_maps_.opened(key);
    claim(key, true);
    tcp::open(env_, *c, source, link_mss(remote.address), floor);
    return c;
}

tcp::Connection* Stack::add_connection(const tcp::FlowKey& key, uint32_t hash,
                                       const BindOptions& options) {
    tcp::Connection* c = connections_.take(key);
    if (c == nullptr) {
        ++counters_.pool_dry_connections;
        counters_.drop(Drop::no_connection);
        return nullptr;
    }
    const Address& local = addresses_[key.local].address;
    if (!local.is_v4()) c->flow_label = env_.isn.flow_label(key, local);
    if (const ip::PathMtu* path = path_mtus_.find(key.remote, env_.now)) {
        c->path_mtu = path->mtu;
        c->path_mtu_expires_s = static_cast<uint32_t>(path->expires.ns() / 1'000'000'000);
    }
    c->in_table = true;
    c->reuse_address = options.reuse_address;
    c->reuse_port = options.reuse_port;
    enter_table(*c, hash);
    recorder_.begin(c, env_.now, local_address(key), {key.remote, key.remote_port});
    return c;
}

void Stack::due(tcp::HalfOpen& entry) {
    if (entry.answer_due) return;
    entry.answer_due = true;
    entry.next_due = half_open_due_;
    half_open_due_ = &entry;
}

void Stack::not_due(tcp::HalfOpen& entry) {
    if (!entry.answer_due) return;
    entry.answer_due = false;
    tcp::HalfOpen** link = &half_open_due_;
    while (*link != &entry) link = &(*link)->next_due;
    *link = entry.next_due;
}

void Stack::remove_half_open(tcp::HalfOpen& entry) {
    saved_syns_.remove(entry.key);
    claim(entry.key, false);
    make_way(entry);
}

/// For a connection of its tuple, to which its claim on steered frames and its saved SYN pass on.
void Stack::make_way(tcp::HalfOpen& entry) {
    not_due(entry);
    half_open_table_.erase(entry);
    --entry.listener->half_open_count;
    half_opens_.give_back(&entry);
}

void Stack::set_reuse(tcp::Connection& c, const BindOptions& options) {
    if (c.in_table) bindings_.went(c);
    c.reuse_address = options.reuse_address;
    c.reuse_port = options.reuse_port;
    if (c.in_table) bindings_.came(c);
}

void Stack::enter_table(tcp::Flow& flow, uint32_t hash) {
    flows_.insert(flow, hash);
    bindings_.came(flow);
    ++flows_changed_;
}

void Stack::leave_table(tcp::Flow& flow) {
    flows_.erase(flow);
    bindings_.went(flow);
    port_maps_.give_back(flow.key);
    ++flows_changed_;
}

void Stack::leave_table(tcp::Connection& c) {
    if (!c.in_table) return;
    c.in_table = false;
    if (c.error != 0 || c.aborted)
        recorder_.keep_end(&c, env_.now, local_address(c.key), {c.key.remote, c.key.remote_port});
    saved_syns_.remove(c.key);
    leave_table(static_cast<tcp::Flow&>(c));
}

/// The connection's place in the flow table goes to an entry that needs less, in TIME-WAIT or on
/// the way there.
void Stack::to_time_wait(tcp::Connection& c) {
    const bool awaits_fin = c.state == tcp::State::fin_wait_2;
    const uint32_t hash = c.hash;
    tcp::TimeWait* entry =
        time_wait_count_ < config_.tcp.tcp_max_tw_buckets ? time_waits_.take(c.key) : nullptr;
    if (entry == nullptr && awaits_fin) return;  // it waits itself
    leave_table(c);
    if (entry != nullptr) {
        ++time_wait_count_;
        tcp::begin(*entry, c);
        enter_table(*entry, hash);
        if (!becomes_reusable(*entry)) port_maps_.take(entry->key);
        if (!awaits_fin) ++counters_.tcp_time_waits;
        time_wait_queue_.add(*entry, env_.now, awaits_fin ? c.slow_due - env_.now : two_msl());
    } else {
        // tcp_max_tw_buckets: the new entry is the one that is not kept, as in Linux.
        ++counters_.tcp_time_wait_overflow;
        claim(c.key, false);
    }
    tcp::finish(env_, c, 0);
}

void Stack::leave_time_wait(tcp::TimeWait& entry) {
    --time_wait_count_;
    leave_table(entry);
    claim(entry.key, false);
}

/// Before its time: its slot of the queue gives its memory back when it drains, or is swept.
void Stack::remove_time_wait(tcp::TimeWait& entry) {
    leave_time_wait(entry);
    entry.expires = 0;
    // Six looks for one that is added keep those that are gone below three in four of the bound: a
    // lap over all of them takes a sixth of their number, and the pool has room for as many.
    constexpr size_t looks = 6;
    if (time_waits_.in_use() - time_wait_count_ > config_.tcp.tcp_max_tw_buckets / 4)
        time_wait_queue_.sweep(looks, [this](tcp::TimeWait& gone) {
            time_waits_.give_back(&gone);
        });
}

/// A closed connection leaves the table, and the pool once the application has let go of it.
void Stack::retire(tcp::Connection& c) {
    if (c.in_table) {
        leave_table(c);
        claim(c.key, false);
    }
    if (c.attached) return;  // run_application comes back here
    // Whoever takes it out of a list it is still in comes back here, too.
    if (c.tcp::DirtyHook::is_linked() || c.tcp::ReadyHook::is_linked() || c.starved) return;
    finished_.push_back(c);
}

}  // namespace millrace::stack
