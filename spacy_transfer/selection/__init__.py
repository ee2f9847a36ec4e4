"""Choosing by measurement: backbones ranked for the heads of a config."""
