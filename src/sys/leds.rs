//! Lights under /sys/class/leds.
