"""Conversions between CVAT's wire format, our annotations and FiftyOne's documents."""
