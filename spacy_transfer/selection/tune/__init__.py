"""Settings of a config, searched by trainings."""
