"""What can be configured, how it is composed, and how a mistake in it is reported."""
