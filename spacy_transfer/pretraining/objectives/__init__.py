"""The objectives, each an architecture for `[pretraining.objective]`, and the layers that they learn."""
