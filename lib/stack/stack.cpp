#include "stack/stack.h"

#include <boost/intrusive/parent_from_member.hpp>

#include "tcp/ingress.h"
#include "tcp/receive_queue.h"
#include "tcp/timers.h"

namespace millrace::stack {

namespace {

// Timers and TIME-WAIT entries touched in one turn: no phase may starve another.
constexpr size_t timer_budget = 1024;
constexpr size_t time_wait_budget = 1024;
size_t flows_max(const Config& config) {
    return size_t{config.tcp.max_connections} + config.tcp.tcp_max_tw_buckets;
}

// Tuples that steering brings here and another core has.
size_t forwards_max(const Config& config) { return flows_max(config) + config.ip.max_udp_sockets; }

// An entry that is gone before its time, since its tuple was opened again, goes back to the pool
// when its slot of the queue drains or is swept: as many more may wait for that.
size_t time_waits_max(const Config& config) { return size_t{2} * config.tcp.tcp_max_tw_buckets; }

// A range for each connection that sends, and enough for scoreboards of the rest of the memory.
size_t sent_ranges_max(const Config& config) {
    return size_t{2} * config.tcp.max_connections + 65536;
}

// Sockets that have asked for a port by its number.
constexpr size_t bindings_max = size_t{1} << 20;

// UDP's ports are drawn apart from TCP's, which everybody gets to see.
constexpr uint32_t udp_series = 1U << 16;

buf::DryCounters dry_counters(observe::Counters& counters) {
    return {.header = &counters.pool_dry_header,
            .attach = &counters.pool_dry_attach,
            .payload = &counters.pool_dry_payload,
            .region = &counters.pool_dry_region,
            .reserve_used = &counters.control_reserve_used,
            .control = &counters.pool_dry_control};
}

constexpr Duration housekeeping = Duration::from_ms(1);
constexpr Duration fragment_sweep = Duration::from_s(1);

}  // namespace

std::vector<ip::Interface> with_loopback(std::vector<ip::Interface> interfaces) {
    ip::Interface loopback;
    loopback.name = "lo";
    loopback.loopback = true;
    loopback.mtu = 16384;
    loopback.offloads = {true, true, true};
    interfaces.push_back(std::move(loopback));
    return interfaces;
}

/// Long because a stack has so many parts.
Stack::Stack(Options options, buf::Pools& pools, Host& host)
    : config_(options.config),
      interfaces_(std::move(options.interfaces)),
      core_(options.core),
      steering_(options.cores),
      pools_(pools),
      host_(host),
      wheel_(options.now),
      hash_(options.secrets.table),
      addresses_(interfaces_, options.secrets.table),
      routes_(interfaces_, addresses_),
      neighbours_(config_.ip, options.secrets.table, wheel_, counters_, *this,
                  tcp::timer_neighbour),
      fragments_(config_.ip, counters_, options.secrets.table, pools_.receive_buffers()),
      path_mtus_(config_.ip, options.secrets.table),
      datagram_path_mtus_(config_.ip, options.secrets.table),
      groups_(core_, static_cast<uint16_t>(interfaces_.size() - 1), options.secrets.table),
      resets_(options.secrets.table),
      unreachables_(options.secrets.table),
      ranges_(config_.pools.receive),
      reassemblies_(config_.tcp.max_connections),
      tunings_(config_.tcp.max_connections),
      sendings_(config_.tcp.max_connections),
      receivings_(config_.tcp.max_connections),
      settings_(config_.tcp.max_connections),
      sent_ranges_(sent_ranges_max(config_)),
      snapshots_(size_t{4} * buf::FrameBatch::capacity),
      bbrs_(config_.tcp.max_connections),
      mtu_probings_(config_.tcp.max_connections),
      recorder_(config_.recorder.events, config_.recorder.ends),
      env_{.now = options.now, .recorder = recorder_,
           .tunables = config_.tcp, .counters = counters_,
           .wheel = wheel_,
           .neighbours = neighbours_,
           .buffers = pools_,
           .ranges = ranges_,
           .reassemblies = reassemblies_,
           .tunings = tunings_,
           .sendings = sendings_,
           .receivings = receivings_,
           .settings = settings_,
           .sent_ranges = sent_ranges_,
           .snapshots = snapshots_,
           .bbrs = bbrs_,
           .mtu_probings = mtu_probings_,
           .isn = tcp::IsnGenerator(options.secrets),
           .reassembling = {}, .dirty = {}, .ready = {}, .starved = {}},
      classifier_(interfaces_, addresses_, groups_, hash_, counters_),
      connections_(config_.tcp.max_connections),
      time_waits_(time_waits_max(config_)),
      half_opens_(config_.tcp.max_half_open),
      saved_syns_(hash_, size_t{config_.tcp.max_half_open} + config_.tcp.max_connections),
      listener_pool_(size_t{65536}),
      flows_(flows_max(config_)),
      half_open_table_(config_.tcp.max_half_open),
      listeners_(1024),
      bindings_(options.secrets.table, options.secrets.port, core_, addresses_, bindings_max),
      udp_bindings_(options.secrets.table, options.secrets.port, udp_series | core_, addresses_,
                    config_.ip.max_udp_sockets),
      udp_env_(counters_, pools_.receive_buffers(), options.cores),
      endpoints_(config_.ip.max_udp_sockets),
      udp_table_(hash_, config_.ip.max_udp_sockets),
      port_maps_(options.secrets.table),
      forward_pool_(options.cores > 1 ? forwards_max(config_) : 0),
      forwards_(options.cores > 1 ? forwards_max(config_) : 1),
      next_announcement_(options.announces ? options.now : Instant::never()) {
    while (outputs_.size() < interfaces_.size())
        outputs_.push_back(std::make_unique<buf::FrameBatch>());
    for (size_t i = 0; i < interfaces_.size(); ++i)
        for (const NeighbourConfig& neighbour : interfaces_[i].neighbours)
            neighbours_.place(static_cast<uint16_t>(i), neighbour, options.now);
    next_fragment_sweep_ = options.now + fragment_sweep;
    pools_.count_dry_in(dry_counters(counters_));
}

Stack::~Stack() {
    // What is still there dies without a word: the host has decided to be gone. Peers learn from
    // the RST that the next segment meets.
    pools_.count_dry_in({});
    env_.dirty.clear();
    env_.ready.clear();
    listener_pool_.for_each_in_use(
        [](tcp::Listener& listener) { listener.accept_queue.clear(); });
    connections_.for_each_in_use([&](tcp::Connection& c) {
        tcp::release(env_, c);
        connections_.give_back(&c);
    });
    endpoints_.for_each_in_use([&](udp::Endpoint& e) {
        udp::clear(udp_env_, e);
        endpoints_.give_back(&e);
    });
    half_opens_.for_each_in_use([&](tcp::HalfOpen& entry) { half_opens_.give_back(&entry); });
    listener_pool_.for_each_in_use(
        [&](tcp::Listener& listener) { listener_pool_.give_back(&listener); });
}

bool Stack::run_timers() {
    size_t due = wheel_.advance(env_.now, timer_budget,
                                [this](time::WheelEntry& entry) { expire_timer(entry); });
    fail_attempts();
    due += time_wait_queue_.advance(env_.now, time_wait_budget, [this](tcp::TimeWait& entry) {
        if (entry.expires != 0) leave_time_wait(entry);  // else it has left the table already
        time_waits_.give_back(&entry);
    });
    if (env_.now >= env_.retry_starved_at) retry_starved();
    if (env_.now >= next_housekeeping_) {
        next_housekeeping_ = env_.now + housekeeping;
        count_receive_buffers();
        if (env_.now >= next_announcement_) announce();
    }
    if (env_.now >= groups_.next_deadline()) groups_.run(env_.now, *this);
    if (env_.now >= next_fragment_sweep_) {
        fragments_.expire(env_.now);
        next_fragment_sweep_ = env_.now + fragment_sweep;
    }
    return due > 0;
}

void Stack::count_receive_buffers() {
    frames_unchecked_ = 0;
    env_.receive_low = pools_.receive_is_low();
    if (env_.receive_low) ++counters_.pool_low_receive;
    env_.payload_low = pools_.payload_is_low();
    if (env_.receive_low && env_.payload_low) tcp::relieve(env_);
}

void Stack::retry_starved() {
    env_.retry_starved_at = Instant::never();
    retried_.clear();
    retried_.swap(env_.starved);
    for (tcp::Connection* c : retried_) {
        c->starved = false;
        env_.mark_dirty(*c);
        if (c->want_writable && c->attached && c->send_charge() < c->snd_buf)
            env_.notify(*c, tcp::Event::writable);
    }
}

void Stack::expire_timer(time::WheelEntry& entry) {
    using boost::intrusive::get_parent_from_member;
    switch (entry.kind()) {
        case tcp::timer_connection:
            tcp::on_timer(env_, *get_parent_from_member(&entry, &tcp::Connection::timer));
            return;
        case tcp::timer_half_open: {
            auto& half_open = *get_parent_from_member(&entry, &tcp::HalfOpen::timer);
            switch (tcp::on_timer(env_, half_open)) {
                case tcp::HalfOpenTimeout::answer: due(half_open); return;
                case tcp::HalfOpenTimeout::expire: remove_half_open(half_open); return;
                case tcp::HalfOpenTimeout::wait: return;
            }
            return;
        }
        case tcp::timer_neighbour: neighbours_.on_timer(entry, env_.now); return;
        case tcp::timer_application: expired_.push_back(entry); return;
        default: MILLRACE_ASSERT(false);
    }
}

bool Stack::run_application(Application& application) {
    while (!expired_.empty()) {
        time::WheelEntry& entry = expired_.front();
        expired_.pop_front();
        application.on_timer(entry);
    }
    while (!acceptable_.empty()) {
        tcp::Listener& listener = *acceptable_.back();
        acceptable_.pop_back();
        listener.accept_event = false;
        application.on_acceptable(listener);
    }
    if (!udp_env_.ready.empty()) run_datagram_events(application);
    // What becomes ready in here waits for the next turn, so that this one ends.
    tcp::ReadyList ready;
    ready.swap(env_.ready);
    while (!ready.empty()) {
        tcp::Connection& c = ready.front();
        ready.pop_front();
        if (!c.attached) env_.mark_dirty(c);
        if (c.owner == nullptr) continue;
        uint8_t events = std::exchange(c.events, uint8_t{0});
        // The end of an orderly close waits until everything has been read.
        if (c.error == 0 && c.unread() > 0)
            events &= static_cast<uint8_t>(~tcp::Event::closed);
        if (events == 0) continue;
        application.on_events(c, events);
        if ((events & tcp::Event::closed) != 0 && c.attached) {
            c.delivered_close = true;
            c.attached = false;
            c.owner = nullptr;
            env_.mark_dirty(c);
        }
    }
    return application.on_turn();
}

void Stack::end_turn() {
    flush();
    pools_.refill_reserve();
    ++turns_;
    recorder_.end_turn();
    wake_senders();
    while (!closed_endpoints_.empty()) endpoints_.give_back(&closed_endpoints_.front());
    while (!finished_.empty()) {
        tcp::Connection& c = finished_.front();
        finished_.pop_front();
        tcp::release(env_, c);
        connections_.give_back(&c);
    }
}

bool Stack::has_work() const {
    return !env_.dirty.empty() || !env_.ready.empty() || !acceptable_.empty() ||
           !loopback_.empty() || half_open_due_ != nullptr || to_be_flushed_ ||
           !udp_env_.ready.empty() || !waiting_to_send_.empty() ||
           !closed_endpoints_.empty() || !expired_.empty();
}

Instant Stack::next_deadline() {
    if (has_work()) return env_.now;
    Instant deadline = wheel_.next_deadline();
    deadline = std::min(deadline, env_.retry_starved_at);
    deadline = std::min(deadline, groups_.next_deadline());
    deadline = std::min(deadline, next_announcement_);
    deadline = std::min(deadline, time_wait_queue_.next_deadline(time_waits_.in_use()));
    if (fragments_.size() > 0) deadline = std::min(deadline, next_fragment_sweep_);
    if (failure_walk_at_ != 0) return env_.now;
    if (!failed_hops_.empty()) deadline = std::min(deadline, next_failure_walk_);
    return deadline;
}

Stack::Population Stack::population() const {
    return {.connections = connections_.in_use(),
            .half_open = half_opens_.in_use(),
            .time_wait = time_wait_count_,
            .listeners = listener_pool_.in_use(),
            .neighbours = neighbours_.size(),
            .forwards = forward_pool_.in_use(),
            .fragments = fragments_.size(),
            .sendings = sendings_.in_use(),
            .receivings = receivings_.in_use(),
            .settings = settings_.in_use(),
            .sent_ranges = sent_ranges_.in_use(),
            .reassemblies = reassemblies_.in_use(),
            .reassembly_ranges = ranges_.in_use(),
            .tunings = tunings_.in_use(),
            .snapshots = snapshots_.in_use(),
            .bbrs = bbrs_.in_use(),
            .path_mtus = path_mtus_.size(),
            .mtu_probings = mtu_probings_.in_use(),
            .udp_sockets = endpoints_.in_use(),
            .datagrams = udp_env_.queued.in_use(),
            .groups = groups_.size(),
            .saved_syns = saved_syns_.size()};
}

}  // namespace millrace::stack
