"""Many texts: input files of any kind, a job that goes on after it was killed, and engines that run it."""
