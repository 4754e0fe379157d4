"""What the stack adds to the bare link: each is measured in turn with it, in one call."""
from links import KEPT, SHORT, SOURCES, bulk_over_memif, http_over_memif, http_over_ring
from raw import SMALL, one_way, over_memif, over_ring, pairs

# Pairs of frames, in and out, that the link itself carries for one: a request and its answer; for a
# connection the same with the third ACK and a FIN, and two small ones, SYN and SYN-ACK before, the
# other FIN and its ACK behind. What the stack sends beyond that counts as its own.


def added(name, over, http, network, build, runs, seconds):
    """After each run the figures so far: a caller may measure more in turn with them."""
    short = (*SHORT, "--sources", SOURCES.format(network))
    figures = {part: [] for part in ("raw_pair", "raw_small_pair", "request", "connection",
                                     "added_to_request", "added_to_connection")}
    for _ in range(runs):
        _, pair = pairs(over, build, seconds)
        _, small = pairs(over, build, seconds, SMALL)
        _, request = http(f"{name}, requests", KEPT, build, seconds)
        _, connection = http(f"{name}, connections", short, build, seconds)
        values = (pair, small, request, connection, request - pair,
                  connection - pair - 2 * small)
        for part, value in zip(figures, values):
            figures[part].append(value)
        yield figures


def ring_over_raw(build, quick):
    runs, seconds = (1, 1) if quick else (5, 3)
    for figures in added("ring_over_raw", over_ring, http_over_ring, "10.77.0", build, runs,
                         seconds):
        pass
    for part, values in figures.items():
        yield f"ring_over_raw.{part}", "cycles", values


BULK_FIGURES = {"raw_gbps": "Gbit/s", "1flow_gbps": "Gbit/s", "64flows_gbps": "Gbit/s",
                "1flow_to_raw": "ratio", "64flows_to_raw": "ratio", "1flow_to_64flows": "ratio"}


def memif_over_raw(build, quick):
    """Bulk, too: as a share of what the bare link carries one way in full frames."""
    runs, seconds = (1, 1) if quick else (5, 3)
    bulk = {part: [] for part in BULK_FIGURES}
    for figures in added("memif_over_raw", over_memif, http_over_memif, "10.80.0", build, runs,
                         seconds):
        before = one_way(over_memif, build, seconds)
        one, many = (bulk_over_memif(flows, build, seconds) for flows in (1, 64))
        raw = (before + one_way(over_memif, build, seconds)) / 2
        for part, value in zip(bulk, (raw, one, many, one / raw, many / raw, one / many)):
            bulk[part].append(value)
    for part, values in figures.items():
        yield f"memif_over_raw.{part}", "cycles", values
    for part, unit in BULK_FIGURES.items():
        yield f"memif_over_raw.{part}", unit, bulk[part]
