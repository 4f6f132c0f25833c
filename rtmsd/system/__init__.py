"""The operating system's side, and what tasks need in every package: turns, outstanding work, rate limits of logs."""
