"""The worker wing: what runs inside the measured process. It imports nothing of the host wing but the protocol."""
