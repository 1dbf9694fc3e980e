"""Where counters live: the port and its adapters."""
