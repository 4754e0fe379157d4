#include "tcp/limits.h"

namespace millrace::tcp {

Duration retries_duration(const TcpTunables& tunables, uint32_t retries) {
    const auto ceiling = Duration::from_ms(tunables.tcp_rto_max_ms);
    Duration rto = Duration::from_us(tunables.tcp_rto_min_us);
    Duration sum;
    for (uint32_t i = 0; i <= retries; ++i) {
        sum += rto;
        rto = std::min(rto * 2, ceiling);
    }
    return sum;
}

}  // namespace millrace::tcp
