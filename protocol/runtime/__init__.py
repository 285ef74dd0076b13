"""What every service runs on: settings, logs, health checks, metrics, and the loop's start and stop."""
